"""Snapshots of running trials on disk: a trial that is interrupted goes on from its last one, bit for bit.

Each trial has at most one, the last good one, in its folder; it goes when the trial ends.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import pydantic

from tunemax.gpt import checkpoint
from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import explain
from tunemax.gpt.files import PARTIAL, Guard, forget
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.trainer import Member, Trainer
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage.paths import SNAPSHOT as FILE
from tunemax.search.storage.paths import trial_file, trial_folders
from tunemax.search.storage.questions import Question
from tunemax.search.storage.trials import frozen
from tunemax.search.workers.trial import Record, looks_before, rungs_before


@dataclass
class Snapshots:
    """The snapshots of a worker's trials.

    Args:
        storage_url: of the question's storage; the files lie beside it.
        fingerprint: of the data.
        note: told, in one line, what a user should know; training goes on.
    """

    storage_url: str
    fingerprint: str
    note: Callable[[str], None]

    def __post_init__(self) -> None:
        self._guard = Guard(self.note, "training goes on without snapshots")

    def save(self, snapshot: Snapshot, study: str, number: int) -> None:
        """Replace a trial's snapshot. A full disk or a folder without rights is told once."""
        path = self._path(study, number)
        with self._guard(f"{path}: cannot be written"):
            checkpoint.save(snapshot, path, self.fingerprint)

    def member(
        self, trainer: Trainer, config: Config, trial: optuna.Trial, definition: StudyDefinition
    ) -> tuple[Member, Record]:
        """A trial's member, and what its snapshot knows of it: from the snapshot, or new if it has none, or one that
        cannot be used, which is told.

        A snapshot may be newer than a database that was restored, or has lost its last writes with the power. It can
        be used if the two together know of every look so far; one from before snapshots knew anything, if the
        database does.
        """
        study, number = trial.study.study_name, trial.number
        path = self._path(study, number)
        if not os.path.exists(path):  # Path.exists raises if a folder may not be entered
            return trainer.add(config), Record()
        try:
            snapshot = checkpoint.load(path, self.fingerprint)
            if snapshot.config.identity != config.identity:
                raise TunemaxError(f"{path}: of another configuration")
            record = _record(path, snapshot)
            passed = looks_before(definition, config, snapshot.iteration)
            if not snapshot.notes:  # else a rung that it does not know was none yet
                passed |= rungs_before(definition, config, snapshot.iteration)
            if lost := passed - set(frozen(trial).intermediate_values) - set(record.reports):
                raise TunemaxError(f"{path}: newer than the database, which lacks its report at step {min(lost):,}")
            member = trainer.restore(replace(snapshot, config=config))
        except TunemaxError as error:
            self.note(f"{study} trial {number} is trained from the start: {error}")
            return trainer.add(config), Record()
        if trainer.arithmetic_of(member) != member.before != "":
            before = f"{study} trial {number}: trained as {member.before} so far"
            self.note(f"{before}, goes on as {trainer.arithmetic}: equal to rounding only")
        return member, record

    def remove(self, study: str, number: int) -> None:
        """Remove what a trial that has ended needs no more, and what killed processes have left there half-written."""
        with contextlib.suppress(OSError):
            discard(self._path(study, number).parent)

    def _path(self, study: str, number: int) -> Path:
        return trial_file(self.storage_url, study, number, FILE)


def _record(path: Path, snapshot: Snapshot) -> Record:
    try:
        return Record.model_validate(dict(snapshot.notes))
    except pydantic.ValidationError as error:
        raise TunemaxError(f"{path}: damaged ({explain(error)})") from error


def discard(folder: Path) -> int:
    """Remove a trial's snapshot, whole or partial, and its folder if nothing else is in it. Returns the bytes freed."""
    return forget(folder, (FILE, PARTIAL + "*"))


def left_over(question: Question) -> Iterator[Path]:
    """Folders with the snapshot of a trial of this question that has ended, or that is not in the storage."""
    for study, trials in question.trials().items():
        unfinished = {f"{trial.number:05}" for trial in trials if not trial.state.is_finished()}
        for folder in trial_folders(question.storage.url, study):
            if folder.name not in unfinished and any([(folder / FILE).exists(), *folder.glob(PARTIAL + "*")]):
                yield folder
