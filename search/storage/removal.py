"""Questions and everything of them, removed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import PARTIAL, forget
from tunemax.gpt.loggers import LOGGERS
from tunemax.search.question.counting import counted, one_or
from tunemax.search.storage import attributes
from tunemax.search.storage.artifacts import remove_artifacts
from tunemax.search.storage.commands import fail, typed
from tunemax.search.storage.database import study_id
from tunemax.search.storage.fresh_seeds import mark_used
from tunemax.search.storage.paths import (
    LEARNABLES,
    REPORTS,
    SNAPSHOT,
    check_names,
    report_folder,
    study_folder,
    trial_folders,
)
from tunemax.search.storage.questions import Question, alone, read


def delete(storage: RDBStorage, names: Sequence[str]) -> list[Path]:
    """Remove some questions of a storage in this order: their trials' files and their reports, then their studies.

    Returns the folders of theirs in which something lies that tunemax has not made, and that stays. Raises
    TunemaxError, and removes nothing of any, while a trial of one runs. Cut short, it can be done again.
    """
    with alone(storage):
        doomed = [read(storage, name) for name in names]  # a candidate may have joined
        for question in doomed:
            _check_quiet(question)
        return [folder for question in doomed for folder in _remove(question)]


def _remove(question: Question) -> list[Path]:
    storage = question.storage
    if question.definition.confirms:
        mark_used(storage, question.definition)
    for study, trials in question.trials().items():
        attrs = storage.get_study_system_attrs(study_id(storage, study))
        remove_artifacts(storage.url, [attrs, *(trial.system_attrs for trial in trials)])
    kept = _remove_files(question)
    for study in question.siblings:
        optuna.delete_study(study_name=study, storage=storage)
    return kept


def _remove_files(question: Question) -> list[Path]:
    """Remove what we have made in the folders of a question, and those that are empty then. Returns the others."""
    url, ours = question.storage.url, dict[Path, tuple[str, ...]]()
    written = (SNAPSHOT, LEARNABLES, PARTIAL + "*", *(pattern for kind in LOGGERS for pattern in kind.files))
    for study in question.siblings:
        with contextlib.suppress(TunemaxError):  # names of somebody else's database: nothing is there that is ours
            check_names(url, question.name, [study])
            ours |= dict.fromkeys(trial_folders(url, study), written) | {study_folder(url, study): ()}
    with contextlib.suppress(TunemaxError):
        ours |= {report_folder(url, question.name): (*REPORTS, PARTIAL + "*"), study_folder(url, question.name): ()}
    for folder in sorted(ours, key=lambda folder: -len(folder.parts)):
        forget(folder, ours[folder])
    return [folder for folder in ours if folder.is_dir() and any(path not in ours for path in folder.iterdir())]


def _check_quiet(question: Question) -> None:
    """Raise TunemaxError if a trial runs, with the way to end it."""
    trials = [(study, trial) for study, trials in question.trials().items() for trial in trials]
    running = [(study, trial) for study, trial in trials if trial.state == TrialState.RUNNING]
    for study, trial in running:
        if attributes.WORKER not in trial.user_attrs:
            command = fail(question.storage.url, study, trial.number)
            about = f"{study}: trial {trial.number} was asked with the stock tools and runs"
            raise TunemaxError(f"{about}; end it with {command}")
    if running:
        hosts = ", ".join(sorted({trial.user_attrs[attributes.WORKER].partition(":")[0] for _, trial in running}))
        cancel = typed(question.storage.url, "study", "cancel", question.name, "--now")
        stop = f"stop them there with Ctrl-C, or with {cancel}"
        run = f"{counted(len(running), 'trial')} {one_or(len(running), 'runs', 'run')}"
        raise TunemaxError(f"{question.name}: {run} on {hosts}; {stop}")
