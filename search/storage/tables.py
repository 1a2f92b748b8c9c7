"""Trials as the rows of Optuna's tables, read and written many at a time.

Optuna's own calls build an object of every row and ask for each attribute by itself, which costs more than a short
training should. The statements are made once: to make one anew takes longer than to execute it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages._rdb.models import (
    StudyModel,
    TrialHeartbeatModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import BindParameter, Connection, Select, Table, bindparam, case, func, insert, select, update

from tunemax.search.storage.damage import parsed, readable

MOST = 500
"""Trials in one query: databases have limits."""

Sight = tuple[TrialState, datetime | None]
"""A trial's state, and when it was last taken."""

Params = dict[str, tuple[float, str]]
"""Name → value as it is stored, and its distribution as JSON."""

STUDIES: Table = StudyModel.__table__
TRIALS: Table = TrialModel.__table__
PARAMS: Table = TrialParamModel.__table__
VALUES: Table = TrialValueModel.__table__
REPORTS: Table = TrialIntermediateValueModel.__table__
USER: Table = TrialUserAttributeModel.__table__
SYSTEM: Table = TrialSystemAttributeModel.__table__
HEARTBEATS: Table = TrialHeartbeatModel.__table__

_ID: BindParameter[int] = bindparam("id")
_NAME: BindParameter[str] = bindparam("name")
_OF_TRIAL = TRIALS.c.trial_id == _ID
_OF_STUDY = TRIALS.c.study_id == bindparam("study")


_IDS: BindParameter[list[int]] = bindparam("ids", expanding=True)


def _of_some(table: Table, *columns: str) -> Select[Any]:
    """A query for the rows of trials: which trial, and these columns."""
    return select(table.c.trial_id, *(table.c[name] for name in columns)).where(table.c.trial_id.in_(_IDS))


# ------------------------------------------------------------------------------------------------------------ reading

_TRIALS = _of_some(TRIALS, "number", "state", "datetime_start", "datetime_complete")
_PARAMS = _of_some(PARAMS, "param_name", "param_value", "distribution_json").order_by(PARAMS.c.param_id)
_VALUES = _of_some(VALUES, "value", "value_type").order_by(VALUES.c.objective)
_REPORTS = _of_some(REPORTS, "step", "intermediate_value", "intermediate_value_type")
_USER = _of_some(USER, "key", "value_json")
_SYSTEM = _of_some(SYSTEM, "key", "value_json")


@readable
def read(connection: Connection, trial_ids: Collection[int]) -> list[FrozenTrial]:
    """These trials in full, by id, as Optuna gives them; without those that are not there."""
    return [trial for some in _chunks(sorted(trial_ids)) for trial in _read(connection, some)]


def _read(connection: Connection, trial_ids: list[int]) -> Iterator[FrozenTrial]:
    trials, params, values, reports, user, system = (
        _by_trial(connection, query, trial_ids) for query in (_TRIALS, _PARAMS, _VALUES, _REPORTS, _USER, _SYSTEM)
    )
    for trial in sorted(trials):
        ((number, state, start, complete),) = trials[trial]
        if type(number) is not int or number < 0:
            raise ValueError(f"a trial has the number {number!r}")
        suggested = [(name, value, _distribution(text)) for name, value, text in params[trial]]
        yield FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=[TrialValueModel.stored_repr_to_value(value, kind) for value, kind in values[trial]] or None,
            datetime_start=_local(start),
            datetime_complete=_local(complete),
            params={name: distribution.to_external_repr(value) for name, value, distribution in suggested},
            distributions={name: distribution for name, _, distribution in suggested},
            user_attrs={key: parsed(value) for key, value in user[trial]},
            system_attrs={key: parsed(value) for key, value in system[trial]},
            intermediate_values={
                step: TrialIntermediateValueModel.stored_repr_to_intermediate_value(value, kind)
                for step, value, kind in reports[trial]
            },
            trial_id=trial,
        )


def _by_trial(connection: Connection, query: Select[Any], trial_ids: list[int]) -> dict[int, list[Any]]:
    rows: dict[int, list[Any]] = defaultdict(list)
    for trial, *row in connection.execute(query, {"ids": trial_ids}):
        rows[trial].append(row)
    return rows


_SIGHTS = select(TRIALS.c.trial_id, TRIALS.c.state, TRIALS.c.datetime_start).where(_OF_STUDY)
_UNFINISHED = TRIALS.c.state.in_((TrialState.RUNNING, TrialState.WAITING))
_OPEN = _SIGHTS.where(_UNFINISHED | (TRIALS.c.trial_id > bindparam("known")))
_THESE = _SIGHTS.where(TRIALS.c.trial_id.in_(_IDS))


@readable
def look(connection: Connection, study_id: int, known: Mapping[int, Sight]) -> dict[int, Sight]:
    """State and start of each trial of a study that may have changed. known: how they were before."""
    rows = connection.execute(_OPEN, {"study": study_id, "known": max(known, default=-1)})
    sights = {trial: (state, start) for trial, state, start in rows}
    ended = (trial for trial, (state, _) in known.items() if not state.is_finished() and trial not in sights)
    for some in _chunks(ended):
        rows = connection.execute(_THESE, {"study": study_id, "ids": some})
        sights |= {trial: (state, start) for trial, state, start in rows}
    return sights


_STUDY = select(STUDIES.c.study_id).where(STUDIES.c.study_name == _NAME)


def study(connection: Connection, name: str) -> int | None:
    """The study of this name; None if there is none."""
    return connection.execute(_STUDY, {"name": name}).scalar_one_or_none()


_KINDS = TrialValueModel.TrialValueType
_SIGN = case((VALUES.c.value_type == _KINDS.INF_NEG, -1), (VALUES.c.value_type == _KINDS.FINITE, 0), else_=1)
_COMPLETE = (
    select(TRIALS.c.trial_id)
    .join(VALUES, VALUES.c.trial_id == TRIALS.c.trial_id)
    .where(_OF_STUDY, TRIALS.c.state == TrialState.COMPLETE, VALUES.c.objective == 0)
    .limit(1)
)
_BEST = {
    StudyDirection.MINIMIZE: _COMPLETE.order_by(_SIGN, VALUES.c.value, TRIALS.c.trial_id),
    StudyDirection.MAXIMIZE: _COMPLETE.order_by(_SIGN.desc(), VALUES.c.value.desc(), TRIALS.c.trial_id),
}


def best(connection: Connection, study_id: int, direction: StudyDirection) -> int | None:
    """The complete trial of the best value, of equal ones the first; None if none is complete."""
    return connection.execute(_BEST[direction], {"study": study_id}).scalar_one_or_none()


_STATE = select(TRIALS.c.state).where(_OF_TRIAL).with_for_update()


@readable
def locked_state(connection: Connection, trial_id: int) -> TrialState | None:
    """The state of a trial, which nobody else changes until the transaction ends; None if it was deleted.

    SQLite's transaction begins by locking the whole file.
    """
    return connection.execute(_STATE, {"id": trial_id}).scalar_one_or_none()


_ONE_USER = select(USER.c.value_json).where(USER.c.trial_id == _ID, USER.c.key == _NAME)


def user_attribute(connection: Connection, trial_id: int, key: str) -> Any:
    """None if the trial has none of this name."""
    text = connection.execute(_ONE_USER, {"id": trial_id, "name": key}).scalar_one_or_none()
    return parsed(text)


_LOCK = (
    select(STUDIES.c.study_id)
    .where(STUDIES.c.study_id == select(TRIALS.c.study_id).where(_OF_TRIAL).scalar_subquery())
    .with_for_update(key_share=True)
)


def lock_study(connection: Connection, trial_id: int) -> None:
    """Let nobody else lock the study of this trial until the transaction ends."""
    connection.execute(_LOCK, {"id": trial_id})


_ONE, _OTHER = TRIALS.alias("one"), TRIALS.alias("other")
_MARKED = USER.alias("marked")
_TWIN = (
    select(_OTHER.c.trial_id)
    .join(_ONE, _ONE.c.study_id == _OTHER.c.study_id)
    .join(USER, (USER.c.trial_id == _OTHER.c.trial_id) & (USER.c.key == _NAME))
    .join(_MARKED, (_MARKED.c.trial_id == _OTHER.c.trial_id) & (_MARKED.c.key == bindparam("mark")))
    .where(_ONE.c.trial_id == _ID, _OTHER.c.trial_id != _ID, _OTHER.c.state == TrialState.RUNNING)
    .where(USER.c.value_json == bindparam("text"))
    .limit(1)
)


def equal_runs(connection: Connection, trial_id: int, key: str, value: Any, mark: str) -> bool:
    """Whether another trial of the same study runs that has this user attribute, and one of the name `mark` as well."""
    words = {"id": trial_id, "name": key, "text": json.dumps(value), "mark": mark}
    return connection.execute(_TWIN, words).first() is not None


_LAST_STEP = select(func.max(REPORTS.c.step)).where(REPORTS.c.trial_id == _ID)


def last_step(connection: Connection, trial_id: int) -> int:
    """Where a trial has last reported; 0 if it has not."""
    return connection.execute(_LAST_STEP, {"id": trial_id}).scalar() or 0


_ENDED = (
    select(STUDIES.c.study_name, func.count(TRIALS.c.trial_id))
    .outerjoin(TRIALS, (TRIALS.c.study_id == STUDIES.c.study_id) & ~_UNFINISHED)
    .where(STUDIES.c.study_name.in_(bindparam("studies", expanding=True)))
    .group_by(STUDIES.c.study_name)
)


def ended(connection: Connection, studies: list[str]) -> dict[str, int]:
    """How many trials of each of these studies have ended, in any way; without studies that are not there."""
    return {study: int(count) for study, count in connection.execute(_ENDED, {"studies": studies})}


_WAITING = (
    select(STUDIES.c.study_name, func.count(TRIALS.c.trial_id))
    .join(TRIALS, (TRIALS.c.study_id == STUDIES.c.study_id) & (TRIALS.c.state == TrialState.WAITING))
    .where(STUDIES.c.study_name.in_(bindparam("studies", expanding=True)))
    .group_by(STUDIES.c.study_name)
)


def waiting(connection: Connection, studies: list[str]) -> dict[str, int]:
    """How many trials of each of these studies wait; without studies of which none does."""
    return {study: int(count) for study, count in connection.execute(_WAITING, {"studies": studies})}


# ------------------------------------------------------------------------------------------------------------ writing

_WAIT = update(TRIALS).where(_OF_TRIAL).values(state=TrialState.WAITING)
_START = update(TRIALS).where(_OF_TRIAL).values(state=TrialState.RUNNING, datetime_start=bindparam("at"))
_END = update(TRIALS).where(_OF_TRIAL).values(state=bindparam("now"), datetime_complete=bindparam("at"))


def set_waiting(connection: Connection, trial_id: int) -> None:
    connection.execute(_WAIT, {"id": trial_id})


def set_running(connection: Connection, trial_id: int) -> None:
    connection.execute(_START, {"id": trial_id, "at": _utc()})


def set_finished(connection: Connection, trial_id: int, state: TrialState) -> None:
    connection.execute(_END, {"id": trial_id, "now": state, "at": _utc()})


_NEW = {table: insert(table) for table in (PARAMS, VALUES, REPORTS, USER, SYSTEM, HEARTBEATS)}


def write_value(connection: Connection, trial_id: int, value: float) -> None:
    stored, kind = TrialValueModel.value_to_stored_repr(value)
    connection.execute(_NEW[VALUES], {"trial_id": trial_id, "objective": 0, "value": stored, "value_type": kind})


_PARAM_NAMES = select(PARAMS.c.param_name).where(PARAMS.c.trial_id == _ID)


def write_params(connection: Connection, trial_id: int, params: Params) -> None:
    """Give a trial parameters; one that it has stays as it is."""
    if not params:
        return
    names = ("trial_id", "param_name", "param_value", "distribution_json")
    there = set(connection.scalars(_PARAM_NAMES, {"id": trial_id}))
    missing = [(trial_id, name, value, text) for name, (value, text) in params.items() if name not in there]
    if missing:
        connection.execute(_NEW[PARAMS], [dict(zip(names, row, strict=True)) for row in missing])


def write_reports(connection: Connection, reports: Iterable[tuple[int, int, float]]) -> None:
    """Write what trials report: trial, step and value. A step that a trial has reported before stays as it is."""
    values = {(trial, step): value for trial, step, value in reports}
    before = _by_trial(connection, _REPORTS, list({trial for trial, _ in values}))
    known = {(trial, step) for trial, rows in before.items() for step, _, _ in rows}
    new = []
    for (trial, step), value in sorted(values.items()):
        if (trial, step) not in known:
            stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
            new.append({"trial_id": trial, "step": step, "intermediate_value": stored, "intermediate_value_type": kind})
    if new:
        connection.execute(_NEW[REPORTS], new)


_NAMES: BindParameter[list[str]] = bindparam("names", expanding=True)
_KEYS = {table: select(table.c.key).where(table.c.trial_id == _ID, table.c.key.in_(_NAMES)) for table in (USER, SYSTEM)}
_CHANGE = {
    table: update(table).where(table.c.trial_id == _ID, table.c.key == _NAME).values(value_json=bindparam("text"))
    for table in (USER, SYSTEM)
}


def write_attributes(connection: Connection, table: Table, trial_id: int, attributes: Mapping[str, Any]) -> None:
    """Give a trial attributes, in place of those it has under these names. table: USER or SYSTEM.

    The caller holds the trial's lock.
    """
    if not attributes:
        return
    there = set(connection.scalars(_KEYS[table], {"id": trial_id, "names": list(attributes)}))
    texts = {key: json.dumps(value) for key, value in attributes.items()}
    missing = [key for key in texts if key not in there]
    if missing:
        rows = [{"trial_id": trial_id, "key": key, "value_json": texts[key]} for key in missing]
        connection.execute(_NEW[table], rows)
    if there:
        connection.execute(_CHANGE[table], [{"id": trial_id, "name": key, "text": texts[key]} for key in there])


_UNNAME = USER.delete().where(USER.c.trial_id == _ID, USER.c.key == _NAME)


def delete_attribute(connection: Connection, trial_id: int, key: str) -> None:
    connection.execute(_UNNAME, {"id": trial_id, "name": key})


_BEAT = update(HEARTBEATS).where(HEARTBEATS.c.trial_id.in_(_IDS)).values(heartbeat=func.now())
_FIRST_BEAT = _NEW[HEARTBEATS].values(heartbeat=func.now())
_LAST_BEAT = HEARTBEATS.delete().where(HEARTBEATS.c.trial_id == _ID)


def beat(connection: Connection, trial_ids: Collection[int]) -> None:
    """A heartbeat of trials that have had one, by the server's clock."""
    for some in _chunks(trial_ids):
        connection.execute(_BEAT, {"ids": some})


def first_beat(connection: Connection, trial_id: int) -> None:
    stop_beating(connection, trial_id)
    connection.execute(_FIRST_BEAT, {"trial_id": trial_id})


def stop_beating(connection: Connection, trial_id: int) -> None:
    connection.execute(_LAST_BEAT, {"id": trial_id})


# ------------------------------------------------------------------------------------------------------------- inside


def _chunks(trial_ids: Iterable[int]) -> Iterator[list[int]]:
    ids = list(trial_ids)
    return (ids[index : index + MOST] for index in range(0, len(ids), MOST))


@lru_cache(maxsize=1024)
def _distribution(text: str) -> BaseDistribution:
    """The same for every trial of a study; nobody changes one."""
    return json_to_distribution(text)


def _utc() -> datetime:
    """Optuna stores UTC and tells local time, both without saying so."""
    return datetime.now(UTC).replace(tzinfo=None)


def _local(utc: datetime | None) -> datetime | None:
    return None if utc is None else utc.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
