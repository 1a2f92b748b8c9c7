"""What tunemax needs of Optuna's own objects and they do not show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, Select, select

from tunemax.search.storage import attributes, tables
from tunemax.search.storage.damage import parsed
from tunemax.search.storage.database import in_transaction, uncached


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


def record(trial: optuna.Trial, key: str, value: Any) -> None:
    """Set a system attribute at once, whatever else is held back. Raises UpdateFinishedTrialError as above."""
    uncached(trial.storage).set_trial_system_attr(trial._trial_id, key, value)


def recorded(trial: optuna.Trial, studies: Iterable[str], key: str) -> list[Any]:
    """What trials of these studies have as a system attribute: this trial first, then the earliest."""
    table, own = tables.SYSTEM, tables.SYSTEM.c.trial_id == trial._trial_id
    wanted = (
        select(table.c.value_json)
        .join(tables.TRIALS, tables.TRIALS.c.trial_id == table.c.trial_id)
        .join(tables.STUDIES, tables.STUDIES.c.study_id == tables.TRIALS.c.study_id)
        .where(tables.STUDIES.c.study_name.in_(list(studies)), table.c.key == key)
        .order_by(own.desc(), table.c.trial_system_attribute_id)
    )
    return [parsed(text) for text in in_transaction(trial.storage, _scalars, wanted)]


def trained(storage: RDBStorage, study: str) -> str | None:
    """A configuration that a study has trained, as JSON text; None if it has none yet."""
    table = tables.SYSTEM
    wanted = (
        select(table.c.value_json)
        .join(tables.TRIALS, tables.TRIALS.c.trial_id == table.c.trial_id)
        .join(tables.STUDIES, tables.STUDIES.c.study_id == tables.TRIALS.c.study_id)
        .where(tables.STUDIES.c.study_name == study, table.c.key == attributes.CONFIG)
        .limit(1)
    )
    text = next(iter(in_transaction(storage, _scalars, wanted)), None)
    return None if text is None else str(parsed(text))


def _scalars(connection: Connection, wanted: Select[Any]) -> list[Any]:
    return list(connection.scalars(wanted))
