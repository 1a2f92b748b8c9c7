"""A member on disk: one safetensors file whose header holds the rest as JSON. Nothing is unpickled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import safetensors
import safetensors.torch
from torch import Tensor

from tunemax.gpt import plugins
from tunemax.gpt.config import Config
from tunemax.gpt.divergence import Stability
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import explain
from tunemax.gpt.files import write_whole
from tunemax.gpt.plugins import PluginRecord
from tunemax.gpt.snapshot import Snapshot

FORMAT = 1
WHAT = "a tunemax checkpoint"


class Formatted(pydantic.BaseModel):
    """The header of a file that is kept: it begins with the format, by which later versions know it."""

    format: int


H = TypeVar("H", bound=Formatted)


class Header(Formatted):
    """What a checkpoint says of itself.

    values: the active fields as they were then, controls included. path: the arithmetic of its training. plugins:
    what of it came from where; of checkpoints from before there were any, nothing did. tunemax: the version that has
    written it; empty in those from before that was kept.
    """

    model_config = pydantic.ConfigDict(strict=True)

    variant: str
    config: dict[str, Any]
    values: dict[str, Any]
    iteration: int
    data: str
    path: str = ""
    stability: Stability = Stability()
    notes: dict[str, Any] = {}
    plugins: tuple[PluginRecord, ...] = ()
    tunemax: str = ""


def save(snapshot: Snapshot, path: Path, fingerprint: str) -> None:
    """Write a snapshot, whole or not at all. fingerprint: that of the data it was trained on."""
    write_whole(path, packed(snapshot, fingerprint))


def packed(snapshot: Snapshot, fingerprint: str) -> bytes:
    """What the file of a snapshot holds."""
    header = Header(
        format=FORMAT,
        variant=snapshot.config.softmax.name,
        config=snapshot.config.flat(),
        values=dict(snapshot.values),
        iteration=snapshot.iteration,
        data=fingerprint,
        path=snapshot.arithmetic,
        stability=snapshot.stability,
        notes=dict(snapshot.notes),
        plugins=snapshot.config.plugins,
        tunemax=installed(),
    )
    return safetensors.torch.save(dict(snapshot.tensors), metadata={"tunemax": header.model_dump_json()})


def load(path: Path, fingerprint: str | None = None) -> Snapshot:
    """Read a snapshot.

    Raises TunemaxError if there is none, it is damaged, of a newer format, of other data than `fingerprint`, or made
    with a plug-in that is not here, or is another.
    """
    _check_there(path)
    header, tensors = read(path, Header, "tunemax", WHAT)
    if fingerprint is not None and header.data != fingerprint:
        raise TunemaxError(
            f"{path}: trained on data {header.data[:12]}, not on {fingerprint[:12]}; prepare the data it names"
        )
    plugins.check(header.plugins, str(path))
    config = Config.stored(header.config)
    if config.softmax.name != header.variant:
        raise TunemaxError(
            f"{path}: says variant {header.variant}, its configuration says {config.softmax.name}; use another copy"
        )
    layers = {name: value for name, value in header.values.items() if "@" in name}  # as `Trainer.set` puts them there
    fields = {name: value for name, value in header.values.items() if name not in layers}
    values = {**config.replace(fields).held(), **layers}
    return Snapshot(config, values, header.iteration, tensors, header.path, header.stability, header.notes)


@cache
def installed() -> str:
    """The version of tunemax; empty of sources that nobody has installed."""
    try:
        return version("tunemax")
    except PackageNotFoundError:
        return ""


def heading(path: Path) -> Header:
    """What a checkpoint says of itself, without its tensors. Raises TunemaxError as `load` does."""
    _check_there(path)
    with _opened(path, Header, "tunemax", WHAT) as (header, _):
        plugins.check(header.plugins, str(path))
        return header


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise TunemaxError(f"{path}: no checkpoint here")


def read(path: Path, kind: type[H], key: str, what: str) -> tuple[H, dict[str, Tensor]]:
    """Header and tensors of a safetensors file. key: of the metadata that is the header. what: what errors call it.

    Raises TunemaxError if it is damaged, or of a newer format.
    """
    with _opened(path, kind, key, what) as (header, file):
        # Copied: a tensor that still lies in the file dies with the process if somebody cuts the file.
        return header, {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping


@contextmanager
def _opened(path: Path, kind: type[H], key: str, what: str) -> Iterator[tuple[H, Any]]:
    """Header and open file, as `read` has them."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = kind.model_validate_json((file.metadata() or {})[key])
            if header.format == FORMAT:
                yield header, file
                return
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        reason = explain(error) if isinstance(error, pydantic.ValidationError) else str(error)
        raise TunemaxError(f"{path}: not {what}, or damaged ({reason}); train again or use another copy") from error
    raise TunemaxError(f"{path}: format {header.format}, this tunemax reads {FORMAT}; update tunemax")
