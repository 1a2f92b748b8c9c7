"""What the folder of a run says of it, and the weights that one may begin with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pydantic

from tunemax.gpt import plugins
from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import explain
from tunemax.gpt.files import write_whole
from tunemax.gpt.plugins import PluginRecord
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.trainer import Trainer

CONFIG = "config.json"


class Record(pydantic.BaseModel):
    """What CONFIG holds: the configuration in flat names, its identity, and the fingerprint of the data."""

    config: dict[str, Any]
    identity: str
    data: str
    path: str = ""
    """`Trainer.arithmetic`; empty in runs of older versions."""
    steered: str = ""
    """Who moved controls meanwhile; empty for nobody."""
    plugins: tuple[PluginRecord, ...] = ()
    """Those that its parts come from."""
    start: str = ""
    """Whose weights it began with; empty for initial ones."""
    diverged: str = ""
    """Why it was stopped; empty if it was not, and in runs of older versions."""

    @classmethod
    def of(cls, trainer: Trainer, config: Config, *, steered: str = "", start: str = "") -> Self:
        return cls(
            config=config.flat(),
            identity=config.identity,
            data=trainer.corpus.manifest.fingerprint,
            path=trainer.arithmetic,
            steered=steered,
            plugins=config.plugins,
            start=start,
        )

    def write(self, folder: Path, **news: str) -> Self:
        """Keep it in the folder of its run, with what is new in it."""
        record = self.model_copy(update=news)
        write_whole(folder / CONFIG, record.model_dump_json(indent=1).encode())
        return record


@dataclass(frozen=True)
class Start:
    """Weights that a training begins with, in place of initial ones. name: whose they are, as people read it."""

    name: str
    snapshot: Snapshot


def recorded(folder: Path) -> Record:
    """What a run's folder says of it. Raises TunemaxError if it holds no run, one that cannot be read, or one that
    was made with a plug-in that is not here, or is another."""
    if not (folder / CONFIG).is_file():
        raise TunemaxError(
            f"{folder}: holds no run ({CONFIG} is missing); start one with tunemax train --out_dir {folder}"
        )
    try:
        record = Record.model_validate_json((folder / CONFIG).read_bytes())
    except pydantic.ValidationError as error:
        raise TunemaxError(
            f"{folder / CONFIG}: unreadable ({explain(error)}); restore it or start a new run"
        ) from error
    plugins.check(record.plugins, str(folder))
    return record
