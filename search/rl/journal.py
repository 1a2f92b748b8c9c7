"""Trainings that are kept as they end, so that what is cut short goes on: a line of a file for each batch of them."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from tunemax import envs, gpt
from tunemax.envs.agents.scene import Scene
from tunemax.envs.instances import Instance
from tunemax.envs.rollouts import Outcome
from tunemax.envs.texts import corpus_of, texts_of
from tunemax.gpt.compile.library import digest
from tunemax.gpt.errors import TunemaxError

CODE = digest(path for package in (envs, gpt) for path in Path(inspect.getfile(package)).parent.rglob("*.py"))
VERSIONS = {"tunemax": version("tunemax"), "torch": version("torch"), "code": CODE[:16]}
"""What trainings depend on beside what is trained. code: of all that trains and steers, as it was imported."""


@dataclass(frozen=True)
class Kept:
    """How one training ended, as `Outcome` has it."""

    loss: float
    test_loss: float
    diverged: bool
    member_steps: int

    @classmethod
    def of(cls, outcome: Outcome) -> Kept:
        assert outcome.test_loss is not None
        return cls(outcome.loss, outcome.test_loss, outcome.diverged, outcome.member_steps)


class Journal:
    """Batches of trainings of a scene in a file, whatever other ones it has.

    A line that was cut short is as if it were not there. Two processes may write: each line is written at once.
    Raises TunemaxError for a file that cannot be read or written.
    """

    def __init__(self, path: Path, scene: Scene) -> None:
        self._path, self._scene = path, scene
        self._lines: dict[str, list[Kept]] = {}
        try:
            text = path.read_text(errors="replace") if path.exists() else ""
        except OSError as error:
            raise self._failed("read", error) from error
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                content = json.loads(line)
                self._lines[content["key"]] = [Kept(*each) for each in content["trainings"]]
            except (ValueError, KeyError, TypeError):
                continue

    def key(self, what: object, instances: Iterable[Instance]) -> str:
        """Of a batch: of all that its numbers depend on. what: how the instances are steered, as plain data."""
        drawn = [asdict(instance) for instance in instances]
        parts = [what, self._scene.model_dump(), VERSIONS, self._texts, drawn]
        return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()

    def __contains__(self, key: str) -> bool:
        return key in self._lines

    def trained(self, key: str, train: Callable[[], Sequence[Outcome]]) -> Sequence[Kept]:
        """The batch of this key: what is kept, else what is trained now."""
        if key not in self._lines:
            batch = [Kept.of(outcome) for outcome in train()]
            line = json.dumps({"key": key, "trainings": [astuple(each) for each in batch]})
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a") as file:
                    file.write("\n" * self._torn + line + "\n")
            except OSError as error:
                raise self._failed("written", error) from error
            self._torn = False
            self._lines[key] = batch
        return self._lines[key]

    @cached_property
    def _texts(self) -> list[str]:
        """What the texts are that its trainings may see."""
        return [corpus_of(name).manifest.fingerprint for name in texts_of(self._scene.task)]

    def _failed(self, what: str, error: OSError) -> TunemaxError:
        return TunemaxError(f"{self._path}: cannot be {what} ({error.strerror}); make room, or move it away")
