"""Whose a running trial is. Each change of hands is one transaction, so that no two processes ever hold one trial.

Optuna's own call sets a trial's state whoever had it: two that find a worker dead would both put its trial back, the second
one after a living worker has taken it. Here state, mark and heartbeat change together, and only if they are as expected.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb.models import (
    StudyModel,
    TrialHeartbeatModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.trial import TrialState
from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import Session

from search import records

BEAT = 20.0
"""Seconds between two heartbeats of a worker."""
ATTEMPTS = 3
"""Workers that may die on a trial, one after the other and without getting it further, before it has failed."""


@dataclass(frozen=True)
class Held:
    """A running trial that carries a worker's mark. silent: seconds since its last heartbeat; NaN if it never had one."""

    trial_id: int
    study: str
    number: int
    mark: str
    silent: float


def take(storage: BaseStorage, trial_id: int, mark: str | None) -> bool:
    """Set a waiting trial running, with the mark of who takes it and its first heartbeat; False if it waits no more."""
    with _transaction(storage) as session:
        trial = _locked(session, trial_id)
        if trial is None or trial.state != TrialState.WAITING:
            return False
        trial.state = TrialState.RUNNING
        trial.datetime_start = datetime.now()
        if mark is not None:
            _sign(session, trial, mark)
        return True


def adopt(storage: BaseStorage, trial_id: int, mark: str) -> None:
    """Mark a trial that Optuna itself has set running, and give it its first heartbeat."""
    with _transaction(storage) as session:
        if (trial := _locked(session, trial_id)) is not None:
            _sign(session, trial, mark)


def release(storage: BaseStorage, trial_id: int, mark: str | None, failure: str | None = None) -> TrialState | None:
    """Put a running trial back among the waiting ones; it loses the mark. None if it does not run, or under another mark.

    failure: what its worker died of. It is written down; too many of them without progress and the trial has failed. Returns
    the new state.
    """
    with _transaction(storage) as session:
        trial = _locked(session, trial_id)
        if trial is None or trial.state != TrialState.RUNNING or _attribute(session, trial, records.WORKER) != mark:
            return None
        if failure is not None and _too_often(session, trial, failure):
            trial.state = TrialState.FAIL
            trial.datetime_complete = datetime.now()
            return TrialState.FAIL
        trial.state = TrialState.WAITING
        _delete(session, TrialUserAttributeModel.find_by_trial_and_key(trial, records.WORKER, session))
        _delete(session, TrialHeartbeatModel.where_trial_id(trial_id, session))
        return TrialState.WAITING


def withdraw(storage: BaseStorage, studies: Iterable[str], reason: str, *, running: bool) -> int:
    """Fail the waiting trials of studies, and with `running` those that workers train; returns how many.

    A trial that runs without a worker's mark was asked with the stock command line, and stays.
    """
    count = 0
    for trial_id in _ids(storage, studies, [TrialState.WAITING] + [TrialState.RUNNING] * running):
        with _transaction(storage) as session:
            trial = _locked(session, trial_id)
            if trial is None or trial.state.is_finished():
                continue
            if trial.state == TrialState.RUNNING and not (running and _attribute(session, trial, records.WORKER)):
                continue
            _write(session, trial, records.REASON, reason)
            trial.state = TrialState.FAIL
            trial.datetime_complete = datetime.now()
            count += 1
    return count


def report(storage: BaseStorage, mark: str, reports: Mapping[int, tuple[int, float]]) -> set[int]:
    """Write what trials report, all of them in one transaction. Returns those that still run under this mark; only they report.

    reports: trial → step and value. A step that a trial has reported before stays as it is, as with Optuna's own call.
    """
    ours = _running_under(mark).where(TrialModel.trial_id.in_(list(reports)))
    made = TrialIntermediateValueModel
    with _transaction(storage) as session:
        trials = set(session.scalars(ours.with_for_update(of=TrialModel)))
        before = {(trial, step) for trial, step in session.execute(select(made.trial_id, made.step).where(made.trial_id.in_(trials)))}
        for trial in sorted(trials):
            step, value = reports[trial]
            if (trial, step) not in before:
                stored, kind = made.intermediate_value_to_stored_repr(value)
                session.add(made(trial_id=trial, step=step, intermediate_value=stored, intermediate_value_type=kind))
    return trials


def finish(storage: BaseStorage, trial_id: int, mark: str, state: TrialState, value: float, attributes: Mapping[str, Any]) -> bool:
    """End a trial with its value and user attributes, in one transaction. False if it runs no more, or under another mark."""
    with _transaction(storage) as session:
        trial = _locked(session, trial_id)
        if trial is None or trial.state != TrialState.RUNNING or _attribute(session, trial, records.WORKER) != mark:
            return False
        for key, attribute in attributes.items():
            _write(session, trial, key, attribute)
        stored, kind = TrialValueModel.value_to_stored_repr(value)
        session.add(TrialValueModel(trial_id=trial_id, objective=0, value=stored, value_type=kind))
        trial.state = state
        trial.datetime_complete = datetime.now()
        return True


def owned(storage: BaseStorage, trial_ids: Iterable[int], mark: str) -> set[int]:
    """Which of these trials still run under this mark."""
    with _transaction(storage) as session:
        return set(session.scalars(_running_under(mark).where(TrialModel.trial_id.in_(list(trial_ids)))))


def held(storage: BaseStorage, studies: Iterable[str]) -> list[Held]:
    """The running trials of these studies that carry a worker's mark."""
    columns = (
        TrialModel.trial_id,
        StudyModel.study_name,
        TrialModel.number,
        TrialUserAttributeModel.value_json,
        TrialHeartbeatModel.heartbeat,
    )
    wanted = (
        select(*columns)
        .join(StudyModel, StudyModel.study_id == TrialModel.study_id)
        .join(TrialUserAttributeModel, _mark_of_trial())
        .outerjoin(TrialHeartbeatModel, TrialHeartbeatModel.trial_id == TrialModel.trial_id)
        .where(StudyModel.study_name.in_(list(studies)), TrialModel.state == TrialState.RUNNING)
    )
    with _transaction(storage) as session:
        now = session.execute(select(func.now())).scalar_one().replace(tzinfo=None)  # the server's clock, as heartbeats are
        return [
            Held(trial_id, study, number, json.loads(mark), (now - beat).total_seconds() if beat else math.nan)
            for trial_id, study, number, mark, beat in session.execute(wanted)
        ]


def beat(storage: BaseStorage, trial_ids: Sequence[int]) -> None:
    """Say that the worker of these trials lives."""
    if trial_ids:
        with _transaction(storage) as session:
            session.execute(update(TrialHeartbeatModel).where(TrialHeartbeatModel.trial_id.in_(trial_ids)).values(heartbeat=func.now()))


@contextlib.contextmanager
def beating(storage: BaseStorage, trial_ids: Callable[[], Sequence[int]]) -> Iterator[None]:
    """Beat from a thread, now and then, for the trials that there are then."""
    stop = threading.Event()

    def go() -> None:
        while not stop.wait(BEAT):
            with contextlib.suppress(Exception):  # a storage out of reach: whoever trains the trial will say so
                beat(storage, trial_ids())

    thread = threading.Thread(target=go, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def stuck(failures: Sequence[dict[str, Any]], iteration: int) -> int:
    """How many workers have died on a trial since it last got further. iteration: of its last report; 0 without one."""
    count = 0
    for failure in reversed(failures):
        if failure["iteration"] != iteration:
            break
        count += 1
    return count


@contextlib.contextmanager
def _transaction(storage: BaseStorage) -> Iterator[Session]:
    backend = getattr(storage, "_backend", storage)  # without Optuna's cache around it
    assert isinstance(backend, RDBStorage)
    with Session(backend.engine) as session, session.begin():
        yield session


def _running_under(mark: str) -> Select[Any]:
    """A query for the trials that run under a mark."""
    marked = select(TrialModel.trial_id).join(TrialUserAttributeModel, _mark_of_trial())
    return marked.where(TrialModel.state == TrialState.RUNNING, TrialUserAttributeModel.value_json == json.dumps(mark))


def _locked(session: Session, trial_id: int) -> Any:
    """The trial, which nobody else changes until the transaction ends (SQLite's begins by locking the whole file); None if deleted."""
    return session.execute(select(TrialModel).where(TrialModel.trial_id == trial_id).with_for_update()).scalar_one_or_none()


def _sign(session: Session, trial: Any, mark: str) -> None:
    _write(session, trial, records.WORKER, mark)
    found = TrialHeartbeatModel.where_trial_id(trial.trial_id, session)
    if found is None:
        session.add(TrialHeartbeatModel(trial_id=trial.trial_id, heartbeat=func.now()))
    else:
        found.heartbeat = func.now()


def _too_often(session: Session, trial: Any, reason: str) -> bool:
    """Write a failure down. Returns whether it was one too many, and says so on the trial."""
    last = select(func.max(TrialIntermediateValueModel.step)).where(TrialIntermediateValueModel.trial_id == trial.trial_id)
    iteration = session.execute(last).scalar() or 0
    failures = [*(_attribute(session, trial, records.FAILURES) or []), {"iteration": iteration, "reason": reason}]
    _write(session, trial, records.FAILURES, failures)
    if stuck(failures, iteration) < ATTEMPTS:
        return False
    where = f"after iteration {iteration}" if iteration else "before its first evaluation"
    _write(session, trial, records.REASON, f"{ATTEMPTS} workers died on it {where}; the last one: {reason}")
    return True


def _attribute(session: Session, trial: Any, key: str) -> Any:
    found = TrialUserAttributeModel.find_by_trial_and_key(trial, key, session)
    return None if found is None else json.loads(str(found.value_json))


def _write(session: Session, trial: Any, key: str, value: Any) -> None:
    found = TrialUserAttributeModel.find_by_trial_and_key(trial, key, session)
    if found is None:
        session.add(TrialUserAttributeModel(trial_id=trial.trial_id, key=key, value_json=json.dumps(value)))
    else:
        found.value_json = json.dumps(value)


def _delete(session: Session, row: Any) -> None:
    if row is not None:
        session.delete(row)


def _ids(storage: BaseStorage, studies: Iterable[str], states: Sequence[TrialState]) -> list[int]:
    named = select(TrialModel.trial_id).join(StudyModel, StudyModel.study_id == TrialModel.study_id)
    with _transaction(storage) as session:
        return list(session.scalars(named.where(StudyModel.study_name.in_(list(studies)), TrialModel.state.in_(states))))


def _mark_of_trial() -> ColumnElement[bool]:
    return (TrialUserAttributeModel.trial_id == TrialModel.trial_id) & (TrialUserAttributeModel.key == records.WORKER)
