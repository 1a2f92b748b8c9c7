"""Questions and everything of them, removed."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.counting import counted, one_or
from tunemax.search.storage import attributes, study_tables
from tunemax.search.storage.artifacts import remove_artifacts
from tunemax.search.storage.commands import fail, typed
from tunemax.search.storage.database import storage_errors, study_id
from tunemax.search.storage.fresh_seeds import mark_used
from tunemax.search.storage.paths import runs_folder
from tunemax.search.storage.questions import alone, belongings, definition_of, load, questions


@dataclass(frozen=True)
class Doomed:
    """What goes with a question: its repeats and all confirmations, which mean nothing without it."""

    storage: RDBStorage
    question: str
    names: tuple[str, ...]
    """Of the questions, in the order in which they are removed: whose is of another goes before that."""
    studies: Mapping[str, list[FrozenTrial]]
    """With their trials; also those that other tools have renamed."""
    copies: tuple[str, ...]
    """Studies that other tools have made of ours; they stay, and are nobody's."""

    @property
    def words(self) -> str:
        states = Counter(attributes.state(trial) for trials in self.studies.values() for trial in trials)
        trials = f"{counted(states.total(), 'trial')} ({states['complete']} complete)"
        stay = f"; {', '.join(self.copies)} {one_or(len(self.copies), 'stays', 'stay')}" if self.copies else ""
        return f"{counted(len(self.studies), 'study')} with {trials}, and their files{stay}"


def doomed(storage: RDBStorage, name: str) -> Doomed:
    """What there is to remove of a question, which may be one that cannot be read. Raises TunemaxError if there is
    none."""
    known = questions(storage)
    if name not in known:
        load(storage, name)  # which says what is there instead
    # No study file may name a question with a dot: see `stages.NAME`
    names = sorted((other for other in known if other == name or other.startswith(f"{name}.")), key=len, reverse=True)
    found = [belongings(storage, other, known[other]) for other in names]
    studies = [study for siblings in found for study in (*siblings.present, *siblings.renamed.values())]
    with storage_errors(storage.url):
        trials = {study: storage.get_all_trials(study_id(storage, study), deepcopy=False) for study in studies}
    return Doomed(storage, name, tuple(names), trials, tuple(copy for siblings in found for copy in siblings.copies))


def delete(storage: RDBStorage, name: str) -> Doomed:
    """Remove a question: its trials' files, then its studies. Returns what has gone.

    Raises TunemaxError, and removes nothing, while a trial of it runs. Cut short, it can be done again.
    """
    with alone(storage):
        removed = doomed(storage, name)  # a candidate may have joined
        _check_quiet(removed)
        _mark_used(removed)
        with storage.engine.begin() as connection:
            for row in study_tables.lock_studies(connection, removed.copies).values():
                ours = (attributes.QUESTION, attributes.SIBLING, attributes.DEFINITION)
                study_tables.remove_attributes(connection, row.key, ours)
        for study, trials in removed.studies.items():
            _remove(storage, study, trials)
        for question in removed.names:
            with contextlib.suppress(OSError):  # it is gone, or holds something else
                (runs_folder(storage.url) / question).rmdir()
    return removed


def _remove(storage: RDBStorage, study: str, trials: list[FrozenTrial]) -> None:
    root = runs_folder(storage.url)
    attrs = storage.get_study_system_attrs(study_id(storage, study))
    remove_artifacts(storage.url, [attrs, *(trial.system_attrs for trial in trials)])
    if (root / study).exists():
        shutil.rmtree(root / study)
    optuna.delete_study(study_name=study, storage=storage)


def _mark_used(removed: Doomed) -> None:
    """Keep in mind which seeds its confirmations have met, if the question itself stays."""
    known = questions(removed.storage)
    for name in removed.names:
        with contextlib.suppress(TunemaxError):  # one that cannot be read was kept in mind when it was made
            definition = definition_of(name, known[name])
            if definition.confirms and definition.confirms.question not in removed.names:
                mark_used(removed.storage, definition)


def _check_quiet(removed: Doomed) -> None:
    """Raise TunemaxError if a trial runs, with the way to end it."""
    url = removed.storage.url
    trials = [(study, trial) for study, trials in removed.studies.items() for trial in trials]
    running = [(study, trial) for study, trial in trials if trial.state == TrialState.RUNNING]
    for study, trial in running:
        if attributes.WORKER not in trial.user_attrs:
            command = fail(url, study, trial.number)
            about = f"{study}: trial {trial.number} was asked with the stock tools and runs"
            raise TunemaxError(f"{about}; end it with {command}")
    if running:
        hosts = ", ".join(sorted({trial.user_attrs[attributes.WORKER].partition(":")[0] for _, trial in running}))
        cancel = typed(url, "study", "cancel", removed.question, "--now")
        stop = f"stop them there with Ctrl-C, or with {cancel}"
        run = f"{counted(len(running), 'trial')} {one_or(len(running), 'runs', 'run')}"
        raise TunemaxError(f"{removed.question}: {run} on {hosts}; {stop}")
