"""What tunemax needs of Optuna's own objects and they do not show."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from tunemax.search.storage.database import uncached


def database(study: optuna.Study) -> RDBStorage:
    """The database in which a study lies, without a cache around it."""
    return uncached(study._storage)


def live(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """A trial of a study to suggest, report and be given attributes."""
    return optuna.Trial(study, trial._trial_id)


def frozen(trial: optuna.Trial) -> FrozenTrial:
    """A trial as it was claimed, and with what it has suggested since; without a look into the storage."""
    return trial._cached_frozen_trial


def set_system_attr(trial: optuna.Trial, key: str, value: Any) -> None:
    """Raises UpdateFinishedTrialError if the trial has finished."""
    trial.storage.set_trial_system_attr(trial._trial_id, key, value)
