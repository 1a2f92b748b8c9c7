"""Studies as the rows of Optuna's tables, and the trials that wait in them, written many at a time.

Optuna's own calls are a transaction for each attribute and each trial: a large study would take minutes to lay out,
and whoever is cut short would leave a part of it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.storages._rdb.models import (
    MAX_INDEXED_STRING_LENGTH,
    StudyDirectionModel,
    StudySystemAttributeModel,
    StudyUserAttributeModel,
)
from optuna.study import StudyDirection
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES
from optuna.trial import TrialState
from sqlalchemy import Connection, String, Table, cast, func, insert, select, update

from tunemax.search.storage import attributes
from tunemax.search.storage.damage import parsed, readable
from tunemax.search.storage.tables import HEARTBEATS, PARAMS, REPORTS, STUDIES, SYSTEM, TRIALS, VALUES
from tunemax.search.storage.tables import USER as TRIAL_USER

DIRECTIONS: Table = StudyDirectionModel.__table__
USER: Table = StudyUserAttributeModel.__table__
METRICS: Table = StudySystemAttributeModel.__table__
OF_TRIALS = (PARAMS, VALUES, REPORTS, TRIAL_USER, SYSTEM, HEARTBEATS)
OF_STUDIES = (DIRECTIONS, USER, METRICS)
"""Tables whose rows are a trial's, and a study's."""
LONGEST = MAX_INDEXED_STRING_LENGTH
"""Characters in the name of a study."""
MOST = 500
"""Studies in one query: databases have limits."""
FIXED = "fixed_params"
"""System attribute by which Optuna knows the parameters of a trial that was enqueued."""


@dataclass(frozen=True)
class StudyRow:
    """A study as it is found, which nobody else changes until the transaction ends."""

    key: int
    """By which the storage knows it."""
    directions: tuple[StudyDirection, ...]
    attributes: Mapping[str, Any]
    """Its user attributes."""
    trials: int


@readable
def lock_studies(connection: Connection, names: Collection[str]) -> dict[str, StudyRow]:
    """Those of these studies that there are. SQLite's transaction begins by locking the whole file."""
    rows: dict[str, StudyRow] = {}
    ordered = sorted(names)
    for some in (ordered[index : index + MOST] for index in range(0, len(ordered), MOST)):
        named = select(STUDIES.c.study_id, STUDIES.c.study_name).where(STUDIES.c.study_name.in_(some))
        keys = {name: key for key, name in connection.execute(named.order_by(STUDIES.c.study_id).with_for_update())}
        ours = list(keys.values())
        directions: defaultdict[int, list[StudyDirection]] = defaultdict(list)
        of = select(DIRECTIONS.c.study_id, DIRECTIONS.c.direction).where(DIRECTIONS.c.study_id.in_(ours))
        for key, direction in connection.execute(of.order_by(DIRECTIONS.c.objective)):
            directions[key].append(direction)
        attributes: defaultdict[int, dict[str, Any]] = defaultdict(dict)
        having = select(USER.c.study_id, USER.c.key, USER.c.value_json).where(USER.c.study_id.in_(ours))
        for key, attribute, text in connection.execute(having):
            attributes[key][attribute] = parsed(text)
        counted = select(TRIALS.c.study_id, func.count()).where(TRIALS.c.study_id.in_(ours))
        counts: dict[int, int] = dict(map(tuple, connection.execute(counted.group_by(TRIALS.c.study_id))))
        for name, key in keys.items():
            rows[name] = StudyRow(key, tuple(directions[key]), attributes[key], counts.get(key, 0))
    return rows


def names(connection: Connection) -> list[str]:
    """Of all studies, oldest first."""
    return list(connection.scalars(select(STUDIES.c.study_name).order_by(STUDIES.c.study_id)))


def having(connection: Connection, key: str) -> dict[str, dict[str, Any]]:
    """The user attributes of every study that has one of this name, by name, oldest first. One that is no JSON is None:
    Optuna's own call would not read the others either."""
    named = select(USER.c.study_id).where(USER.c.key == key)
    written = select(STUDIES.c.study_name, USER.c.key, USER.c.value_json)
    written = written.join(USER, USER.c.study_id == STUDIES.c.study_id).where(STUDIES.c.study_id.in_(named))
    studies: dict[str, dict[str, Any]] = {}
    for name, attribute, text in connection.execute(written.order_by(STUDIES.c.study_id)):
        studies.setdefault(name, {})[attribute] = parsed(text)
    return studies


def described(connection: Connection) -> list[tuple[int, str, dict[str, Any]]]:
    """Key, name and user attributes of every study, oldest first. An attribute that is no JSON is None."""
    written = select(STUDIES.c.study_id, STUDIES.c.study_name, USER.c.key, USER.c.value_json)
    written = written.outerjoin(USER, USER.c.study_id == STUDIES.c.study_id).order_by(STUDIES.c.study_id)
    studies: dict[tuple[int, str], dict[str, Any]] = {}
    for key, name, attribute, text in connection.execute(written):
        given = studies.setdefault((key, name), {})
        if attribute is not None:
            given[attribute] = parsed(text)
    return [(key, name, given) for (key, name), given in studies.items()]


def written_on(connection: Connection, studies: Collection[str], key: str) -> list[Any]:
    """What some studies have as a user attribute of this name; without those that have none."""
    named = STUDIES.c.study_name.in_(list(studies))
    texts = select(USER.c.value_json).join(STUDIES, STUDIES.c.study_id == USER.c.study_id)
    return [parsed(text) for text in connection.scalars(texts.where(USER.c.key == key, named))]


def add_study(connection: Connection, name: str) -> StudyRow:
    """Make a study that minimises one value."""
    (key,) = connection.execute(insert(STUDIES).values(study_name=name)).inserted_primary_key or (0,)
    minimize = StudyDirection.MINIMIZE
    connection.execute(insert(DIRECTIONS).values(study_id=key, direction=minimize, objective=0))
    return StudyRow(key, (minimize,), {}, 0)


def name_metric(connection: Connection, key: int, metric: str) -> None:
    """Say what a study's value is, if nobody has."""
    named = METRICS.c.key == _SYSTEM_ATTR_METRIC_NAMES
    if connection.execute(select(METRICS.c.key).where(METRICS.c.study_id == key, named)).first() is None:
        row = {"study_id": key, "key": _SYSTEM_ATTR_METRIC_NAMES, "value_json": json.dumps([metric])}
        connection.execute(insert(METRICS), [row])


def write_attributes(connection: Connection, study: StudyRow, attributes: Mapping[str, str]) -> None:
    """Give a study user attributes. Only those that it has not, or has otherwise, are written."""
    for name, value in attributes.items():
        text = json.dumps(value)
        if name not in study.attributes:
            connection.execute(insert(USER).values(study_id=study.key, key=name, value_json=text))
        elif study.attributes[name] != value:
            here = (USER.c.study_id == study.key, USER.c.key == name)
            connection.execute(update(USER).where(*here).values(value_json=text))


def remove_attributes(connection: Connection, key: int, names: Collection[str]) -> None:
    """Take user attributes from a study."""
    connection.execute(USER.delete().where(USER.c.study_id == key, USER.c.key.in_(list(names))))


@dataclass(frozen=True)
class Remains:
    """What there is of a trial, whatever of it cannot be read."""

    number: str
    """As the database has it, as the state."""
    state: str
    mark: str | None
    """Of a worker."""
    complete: bool
    """Trained to an end, and neither diverged nor a duplicate."""


def remains(connection: Connection, study: str) -> list[Remains]:
    """All trials of a study, also damaged ones."""
    written: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    keys = (attributes.WORKER, attributes.DIVERGED, attributes.DUPLICATE_OF)
    user = select(TRIAL_USER.c.trial_id, TRIAL_USER.c.key, TRIAL_USER.c.value_json)
    of = (TRIALS.c.study_id == STUDIES.c.study_id, STUDIES.c.study_name == study)
    for trial, key, text in connection.execute(
        user.where(TRIAL_USER.c.trial_id == TRIALS.c.trial_id, TRIAL_USER.c.key.in_(keys), *of)
    ):
        written[trial][key] = parsed(text)
    infinite = select(VALUES.c.trial_id).where(VALUES.c.trial_id == TRIALS.c.trial_id, *of)
    lost = set(connection.scalars(infinite.where(cast(VALUES.c.value_type, String) != "FINITE")))
    found = []
    rows = select(TRIALS.c.trial_id, cast(TRIALS.c.number, String), cast(TRIALS.c.state, String)).where(*of)
    for trial, number, state in connection.execute(rows.order_by(TRIALS.c.trial_id)):
        mark, others = written[trial].pop(attributes.WORKER, None), written[trial]
        complete = state == TrialState.COMPLETE.name and not others and trial not in lost
        found.append(Remains(str(number), str(state), mark if isinstance(mark, str) else None, complete))
    return found


def artifacts(connection: Connection, study: str) -> list[dict[str, Any]]:
    """The system attributes of a study and of its trials, as far as they can be read."""
    of = STUDIES.c.study_name == study
    ours = select(METRICS.c.key, METRICS.c.value_json).where(METRICS.c.study_id == STUDIES.c.study_id, of)
    trials = select(SYSTEM.c.key, SYSTEM.c.value_json).where(
        SYSTEM.c.trial_id == TRIALS.c.trial_id, TRIALS.c.study_id == STUDIES.c.study_id, of
    )
    return [{key: parsed(text)} for wanted in (ours, trials) for key, text in connection.execute(wanted)]


def remove_studies(connection: Connection, names: Sequence[str]) -> None:
    """Remove studies with all their trials; also what Optuna could not read."""
    for name in names:
        keys = list(connection.scalars(select(STUDIES.c.study_id).where(STUDIES.c.study_name == name)))
        trials = select(TRIALS.c.trial_id).where(TRIALS.c.study_id.in_(keys))
        for table in OF_TRIALS:
            connection.execute(table.delete().where(table.c.trial_id.in_(trials)))
        for table in (TRIALS, *OF_STUDIES, STUDIES):
            connection.execute(table.delete().where(table.c.study_id.in_(keys)))


def rename(connection: Connection, key: int, name: str) -> None:
    connection.execute(update(STUDIES).where(STUDIES.c.study_id == key).values(study_name=name))


def fixed_params(connection: Connection, key: int) -> list[dict[str, Any]]:
    """The parameters that the trials of a study were enqueued with."""
    joined = select(SYSTEM.c.value_json).join(TRIALS, TRIALS.c.trial_id == SYSTEM.c.trial_id)
    texts = connection.scalars(joined.where(TRIALS.c.study_id == key, SYSTEM.c.key == FIXED))
    return [params for text in texts if isinstance(params := parsed(text), dict)]


@readable
def add_waiting(connection: Connection, key: int, attributes: Sequence[Mapping[str, Any]]) -> None:
    """Add a waiting trial for each of these system attributes, as Optuna would one by one, behind those that there are.

    The caller holds the study's lock.
    """
    if not attributes:
        return
    highest = select(func.max(TRIALS.c.number), func.max(TRIALS.c.trial_id)).where(TRIALS.c.study_id == key)
    number, before = connection.execute(highest).one()
    first = 0 if number is None else number + 1
    rows = [{"number": first + index, "study_id": key, "state": TrialState.WAITING} for index in range(len(attributes))]
    connection.execute(insert(TRIALS), rows)
    added = select(TRIALS.c.trial_id).where(TRIALS.c.study_id == key, TRIALS.c.trial_id > (before or 0))
    trials = connection.scalars(added.order_by(TRIALS.c.number))
    system = [
        {"trial_id": trial, "key": name, "value_json": json.dumps(value)}
        for trial, values in zip(trials, attributes, strict=True)
        for name, value in values.items()
    ]
    if system:
        connection.execute(insert(SYSTEM), system)
