"""Questions and everything of them, removed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.storages import RDBStorage
from optuna.trial import TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import PARTIAL, forget
from tunemax.gpt.loggers import LOGGERS
from tunemax.gpt.paths import KEPT
from tunemax.search.question.counting import counted, one_or
from tunemax.search.storage import attributes, study_tables
from tunemax.search.storage.artifacts import remove_artifacts
from tunemax.search.storage.commands import fail, typed
from tunemax.search.storage.database import in_transaction
from tunemax.search.storage.fresh_seeds import mark_used
from tunemax.search.storage.paths import (
    LEARNABLES,
    REPORTS,
    SNAPSHOT,
    WEIGHTS,
    check_names,
    report_folder,
    study_folder,
    trial_folders,
)
from tunemax.search.storage.questions import alone, as_written, belongings, definition_of, load, questions
from tunemax.search.storage.rows import remove, sizes
from tunemax.search.storage.study_tables import Remains
from tunemax.search.storage.urls import storage_errors


@dataclass(frozen=True)
class Doomed:
    """What there is to remove of some questions."""

    names: tuple[str, ...]
    """Of the questions."""
    studies: Mapping[str, list[Remains]]
    """With their trials; also those that other tools have renamed."""
    renamed: Mapping[str, str]
    """Of those: the name that each had, and its files still have."""
    copies: tuple[str, ...]
    """Studies that other tools have made of ours; they stay, and are nobody's."""

    @property
    def words(self) -> str:
        there = [trial for trials in self.studies.values() for trial in trials]
        trials = f"{counted(len(there), 'trial')} ({sum(trial.complete for trial in there)} complete)"
        stay = f"; {', '.join(self.copies)} {one_or(len(self.copies), 'stays', 'stay')}" if self.copies else ""
        return f"{counted(len(self.studies), 'study')} with {trials}, and their files{stay}"


def family(storage: RDBStorage, name: str) -> list[str]:
    """A question with its repeats and all confirmations, which mean nothing without it; each behind those that are of
    it. They may be ones that cannot be read. Raises TunemaxError if there is none."""
    known = questions(storage)
    name = as_written(name, known)
    if name not in known:
        load(storage, name)  # which says what is there instead
    # No study file may name a question with a dot: see `stages.NAME`
    names = (other for other in known if other == name or other.startswith(f"{name}."))
    return sorted(names, key=len, reverse=True)


def doomed(storage: RDBStorage, names: Sequence[str]) -> Doomed:
    """What there is to remove of some questions."""
    known = questions(storage)
    there = [belongings(storage, name, known.get(name, {})) for name in names]
    studies = [study for siblings in there for study in (*siblings.present, *siblings.renamed.values())]
    with storage_errors(storage.url):
        trials = {study: in_transaction(storage, study_tables.remains, study) for study in studies}
    renamed = {now: name for siblings in there for name, now in siblings.renamed.items()}
    return Doomed(tuple(names), trials, renamed, tuple(copy for siblings in there for copy in siblings.copies))


def delete(storage: RDBStorage, names: Sequence[str]) -> tuple[Doomed, list[Path]]:
    """Remove some questions of a storage in this order: their trials' files and their reports, then their studies.

    Returns what has gone, and the folders in which something lies that tunemax has not made, and that stays. Raises
    TunemaxError, and removes nothing of any, while a trial of one runs. Cut short, it can be done again.
    """
    with alone(storage):
        removed = doomed(storage, names)  # a candidate may have joined
        _check_quiet(storage, removed)
        _mark_used(storage, names)
        with storage.engine.begin() as connection:
            for row in study_tables.lock_studies(connection, removed.copies).values():
                ours = (attributes.QUESTION, attributes.SIBLING, attributes.DEFINITION)
                study_tables.remove_attributes(connection, row.key, ours)
        staying = [attrs for copy in removed.copies for attrs in in_transaction(storage, study_tables.artifacts, copy)]
        for study in removed.studies:
            remove_artifacts(storage.url, in_transaction(storage, study_tables.artifacts, study), staying)
        remove(storage, [row for name in names for row in sizes(storage, name)])
        kept = [folder for name in names for folder in _remove_files(storage.url, name, removed)]
        in_transaction(storage, study_tables.remove_studies, list(removed.studies))
    return removed, kept


def _remove_files(url: str, name: str, removed: Doomed) -> list[Path]:
    """Remove what we have made in the folders of a question, and those that are empty then. Returns the others."""
    ours = dict[Path, tuple[str, ...]]()
    logged = (pattern for kind in LOGGERS for pattern in kind.files)
    written = (SNAPSHOT, LEARNABLES, WEIGHTS, KEPT, PARTIAL + "*", *logged)
    for study in (removed.renamed.get(study, study) for study in removed.studies):
        with contextlib.suppress(TunemaxError):  # of another question, or of somebody else's database: none are ours
            check_names(url, name, [study])
            ours |= dict.fromkeys(trial_folders(url, study), written) | {study_folder(url, study): ()}
    with contextlib.suppress(TunemaxError):
        ours |= {report_folder(url, name): (*REPORTS, PARTIAL + "*"), study_folder(url, name): ()}
    for folder in sorted(ours, key=lambda folder: -len(folder.parts)):
        forget(folder, ours[folder])
    return [folder for folder in ours if folder.is_dir() and any(path not in ours for path in folder.iterdir())]


def _mark_used(storage: RDBStorage, names: Sequence[str]) -> None:
    """Keep in mind which seeds confirmations have met, if what they confirm stays."""
    known = questions(storage)
    for name in names:
        with contextlib.suppress(TunemaxError):  # one that cannot be read was kept in mind when it was made
            definition = definition_of(name, known[name])
            if definition.confirms and definition.confirms.question not in names:
                mark_used(storage, definition)


def _check_quiet(storage: RDBStorage, removed: Doomed) -> None:
    """Raise TunemaxError if a trial runs, with the way to end it."""
    trials = [(study, trial) for study, trials in removed.studies.items() for trial in trials]
    running = [(study, trial) for study, trial in trials if trial.state == TrialState.RUNNING.name]
    for study, trial in running:
        if trial.mark is None:
            command = fail(storage.url, study, int(trial.number))
            about = f"{study}: trial {trial.number} was asked with the stock tools and runs"
            raise TunemaxError(f"{about}; end it with {command}")
    if running:
        question = running[0][0].partition("/")[0]
        hosts = ", ".join(sorted({str(trial.mark).partition(":")[0] for _, trial in running}))
        stop = f"stop them there with Ctrl-C, or with {typed(storage.url, 'study', 'cancel', question, '--now')}"
        run = f"{counted(len(running), 'trial')} {one_or(len(running), 'runs', 'run')}"
        raise TunemaxError(f"{question}: {run} on {hosts}; {stop}")
