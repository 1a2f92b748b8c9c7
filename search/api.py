"""Studies from Python: open one that tunemax defined, and train its trials under plain ``study.optimize``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from tunemax.gpt.data import open_data
from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.samplers import make_pruner, make_sampler
from tunemax.search.storage import attributes
from tunemax.search.storage.database import open_storage, study_id
from tunemax.search.storage.ownership import adopt, beating
from tunemax.search.storage.questions import Question, load
from tunemax.search.storage.recovery import mark
from tunemax.search.workers.trial import train_alone


def open_study(name: str, storage: str | Path = "studies/tunemax.db") -> optuna.Study:
    """An Optuna study that tunemax defined, with the sampler and pruner of its definition.

    name: ``question/candidate``, or the question's own name if it has one study. storage: a path or an SQLAlchemy URL.
    Raises TunemaxError for an unknown study, or one that tunemax did not define.
    """
    opened = open_storage(storage, create=False)
    study_id(opened, name)  # an unknown name gets its nearest
    study = optuna.load_study(study_name=name, storage=opened)
    question = _question(study)
    study.sampler = make_sampler(question.definition, name, 0, question.begun(name))
    study.pruner = make_pruner(question.definition)
    return study


def objective(study: optuna.Study) -> Callable[[optuna.Trial], float]:
    """What ``study.optimize`` needs to train this study's trials, one at a time, reporting and pruning as a worker
    does.

    ``study.optimize(objective(study), n_trials=10)`` takes waiting trials first, as Optuna does; past the study's
    budget it makes new ones. Raises TunemaxError if the data here is not the study's.
    """
    question = _question(study)
    fixed = question.siblings[study.study_name]
    corpus = open_data(question.definition.data)
    question.check_data(corpus)

    def train(trial: optuna.Trial) -> float:
        adopt(question.storage, trial._trial_id, mark())
        with beating(question.storage, lambda: [trial._trial_id]):
            return train_alone(trial, question.definition, fixed, corpus)

    return train


def _question(study: optuna.Study) -> Question:
    name = study.user_attrs.get(attributes.QUESTION)
    if name is None:
        raise TunemaxError(f"study {study.study_name}: not defined by tunemax; make it with tunemax study create FILE")
    storage: Any = getattr(study._storage, "_backend", study._storage)  # without Optuna's cache around it
    return load(storage, name)
