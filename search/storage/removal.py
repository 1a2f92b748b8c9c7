"""Questions and everything of them, removed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.counting import counted, one_or
from tunemax.search.storage import attributes
from tunemax.search.storage.artifacts import remove_artifacts
from tunemax.search.storage.commands import fail, typed
from tunemax.search.storage.database import study_id
from tunemax.search.storage.fresh_seeds import mark_used
from tunemax.search.storage.paths import runs_folder
from tunemax.search.storage.questions import Question, alone, load


def delete(storage: RDBStorage, names: Sequence[str]) -> None:
    """Remove some questions of a storage in this order: their trials' files, then their studies.

    Raises TunemaxError, and removes nothing of any, while a trial of one runs. Cut short, it can be done again.
    """
    with alone(storage):
        doomed = [load(storage, name) for name in names]  # a candidate may have joined
        for question in doomed:
            _check_quiet(question)
        for question in doomed:
            _remove(question)


def _remove(question: Question) -> None:
    root, storage = runs_folder(question.storage.url), question.storage
    if question.definition.confirms:
        mark_used(storage, question.definition)
    for study, trials in question.trials().items():
        attrs = storage.get_study_system_attrs(study_id(storage, study))
        remove_artifacts(storage.url, [attrs, *(trial.system_attrs for trial in trials)])
        if (root / study).exists():
            shutil.rmtree(root / study)
    with contextlib.suppress(OSError):  # it is gone, or holds something else
        (root / question.name).rmdir()
    for study in question.siblings:
        optuna.delete_study(study_name=study, storage=storage)


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
