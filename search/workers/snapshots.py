"""Snapshots of running trials: a trial that is interrupted goes on from its last one, bit for bit.

Each trial has at most one, the last good one, in its folder; it goes when the trial ends. Where some who train the
question cannot read that folder, a copy goes through the database: see `transit`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import pydantic

from tunemax.gpt import checkpoint
from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import explain
from tunemax.gpt.files import PARTIAL, Guard, forget, write_whole
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.trainer import Member, Trainer
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage.origins import parts_of
from tunemax.search.storage.paths import SNAPSHOT as FILE
from tunemax.search.storage.paths import trial_file, trial_folders
from tunemax.search.storage.patience import StorageLost
from tunemax.search.storage.questions import Question
from tunemax.search.storage.transit import Transit, row_of
from tunemax.search.storage.trials import frozen
from tunemax.search.workers.trial import Record, looks_before, rungs_before

SENT_EVERY = 10.0
"""Least seconds between two snapshots of a trial that are sent through the database, and what it takes to send one may
be this part of the time at most."""
SHARE = 20


@dataclass
class Snapshots:
    """The snapshots of a worker's trials.

    Args:
        storage_url: of the question's storage; the files lie beside it.
        fingerprint: of the data.
        note: told, in one line, what a user should know; training goes on.
        transit: to other machines.
    """

    storage_url: str
    fingerprint: str
    note: Callable[[str], None]
    transit: Transit

    def __post_init__(self) -> None:
        self._guard = Guard(self.note, "training goes on without snapshots")
        self._sending = Guard(self.note, "what is given back here is trained from its start elsewhere")
        self._due: dict[tuple[str, int], float] = {}
        """Of trials: when their next snapshot is to be sent."""
        self._sent: set[tuple[str, int]] = set()
        """Trials of which one lies in the database."""

    def save(self, snapshot: Snapshot, study: str, number: int, send: bool | None = None) -> None:
        """Replace a trial's snapshot. A full disk or a folder without rights is told once.

        send: through the database as well, if somebody needs it there; by default now and then only. Raises StorageLost
        if that is out of reach.
        """
        path, content = self._path(study, number), checkpoint.packed(snapshot, self.fingerprint)
        with self._guard(f"{path}: cannot be written"):
            write_whole(path, content)
        due = self._due.setdefault((study, number), time.monotonic() + SENT_EVERY)
        if send is False or not (send or time.monotonic() > due) or not self.transit.wanted:
            return
        began = time.monotonic()
        with self._sending():
            try:
                self.transit.put(row_of(study, number, FILE), content)
            except StorageLost as error:
                lost: StorageLost | None = error
            else:
                lost = None
                self._sent.add((study, number))
        now = time.monotonic()
        self._due[study, number] = now + max(SENT_EVERY, SHARE * (now - began))
        if lost:
            raise lost

    def member(
        self, trainer: Trainer, config: Config, trial: optuna.Trial, definition: StudyDefinition
    ) -> tuple[Member, Record]:
        """A trial's member, and what its snapshot knows of it: from the snapshot, or new if it has none, or one that
        cannot be used, which is told.

        A snapshot may be newer than a database that was restored, or has lost its last writes with the power. It can
        be used if the two together know of every look so far; one from before snapshots knew anything, if the
        database does.
        """
        with tempfile.TemporaryDirectory() as arrived:
            return self._member(trainer, config, trial, definition, self._furthest(trial, Path(arrived)))

    def _furthest(self, trial: optuna.Trial, folder: Path) -> Path | None:
        """The snapshot of a trial that has come furthest: the one that lies here, or that has come through the
        database, which is put into a folder."""
        study, number = trial.study.study_name, trial.number
        here, arrived = self._path(study, number), folder / FILE
        paths = [here] if os.path.exists(here) else []  # Path.exists raises if a folder may not be entered
        if parts_of(frozen(trial)):  # else nobody has had it
            try:
                if (content := self.transit.get(row_of(study, number, FILE))) is not None:
                    self._sent.add((study, number))
                    arrived.write_bytes(content)
                    paths.append(arrived)
            except (TunemaxError, OSError) as error:
                if isinstance(error, StorageLost):
                    raise
                self._sent.add((study, number))
                anew = "" if paths else f"{study} trial {number} is trained from the start: "
                self.note(f"{anew}{error}")
        return max(paths, key=_iteration, default=None)

    def _member(
        self, trainer: Trainer, config: Config, trial: optuna.Trial, definition: StudyDefinition, path: Path | None
    ) -> tuple[Member, Record]:
        study, number = trial.study.study_name, trial.number
        if path is None:
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
        self._due.pop((study, number), None)
        if (study, number) in self._sent or self.transit.wanted:
            self._sent.discard((study, number))
            self.transit.remove([row_of(study, number, FILE)])

    def _path(self, study: str, number: int) -> Path:
        return trial_file(self.storage_url, study, number, FILE)


def _iteration(path: Path) -> int:
    """Where a snapshot stands; -1 of one that cannot be used."""
    try:
        return checkpoint.heading(path).iteration
    except TunemaxError:
        return -1


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
