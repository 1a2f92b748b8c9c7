"""Whose a running trial is. Each change of hands is one transaction, so that no two processes ever hold one trial.

Optuna's own call sets a trial's state whoever had it: two that find a worker dead would both put its trial back, the
second one after a living worker has taken it. Here state, mark and heartbeat change together, and only if they are as
expected.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, bindparam, func, select

from tunemax.search.storage import attributes, tables
from tunemax.search.storage.cache import PendingWrites
from tunemax.search.storage.damage import parsed, readable
from tunemax.search.storage.database import in_transaction, transaction, uncached

BEAT = 20.0
"""Seconds between two heartbeats of a worker."""
ATTEMPTS = 3
"""Workers that may die on a trial, one after the other and without getting it further, before it has failed."""


@dataclass(frozen=True)
class OwnedTrial:
    """A running trial that carries a worker's mark."""

    _trial_id: int
    study: str
    number: int
    mark: str
    silent: float
    """Seconds since its last heartbeat, by the database's clock; NaN if it never had one."""


AnyTrial = optuna.Trial | FrozenTrial | OwnedTrial


@transaction
def take(connection: Connection, trial: AnyTrial, mark: str | None) -> bool:
    """Set a waiting trial running, with the mark of who takes it and its first heartbeat.

    False if it waits no more, or still waits for its twin: see `settle`.
    """
    identity = tables.user_attribute(connection, trial._trial_id, attributes.IDENTITY)
    if identity is not None and _twin_runs(connection, trial._trial_id, identity):
        return False
    state = tables.locked_state(connection, trial._trial_id)
    if state != TrialState.WAITING:
        return state == TrialState.RUNNING and mark is not None and _has(connection, trial._trial_id, mark)
    tables.set_running(connection, trial._trial_id)
    if mark is not None:
        _sign(connection, trial._trial_id, mark)
    return True


@transaction
def adopt(connection: Connection, trial: AnyTrial, mark: str) -> None:
    """Mark a trial that Optuna itself has set running, and give it its first heartbeat."""
    if tables.locked_state(connection, trial._trial_id) is not None:
        _sign(connection, trial._trial_id, mark)


@transaction
def settle(
    connection: Connection,
    trial: AnyTrial,
    mark: str,
    given: PendingWrites,
    check: Callable[[Connection], None] | None = None,
) -> bool:
    """Write what a trial is to train, unless an equal one, its twin, runs: then it is put back among the waiting ones.

    given: its parameters and attributes, among them its identity. Returns whether it may train now. Of equal ones that
    are settled at one moment one may; the others are taken again when that one runs no more, to train if it has failed,
    and else to be its duplicates. Raises UpdateFinishedTrialError if the trial does not run under this mark, and what
    `check` raises, which is asked first: whether what is written here may stand beside what is there.
    """
    if check:
        check(connection)
    waits = _twin_runs(connection, trial._trial_id, given.user[attributes.IDENTITY])
    if not _runs_under(connection, trial._trial_id, mark):
        raise UpdateFinishedTrialError(f"trial {trial._trial_id} is not ours any more")
    given.write(connection, trial._trial_id)
    if waits:
        _put_back(connection, trial._trial_id)
    return not waits


@transaction
def release(connection: Connection, trial: AnyTrial, mark: str | None, failure: str | None = None) -> TrialState | None:
    """Put a running trial back among the waiting ones; it loses the mark. None if it does not run, or under another
    mark.

    failure: what its worker died of. It is written down; too many of them without progress and the trial has failed.
    Returns the new state. The trial keeps its parameters, attributes and reports. Claimed again, it suggests the same
    values; a report at a step that it has reported before changes nothing.
    """
    if not _runs_under(connection, trial._trial_id, mark):
        return None
    if failure is not None and _too_often(connection, trial._trial_id, failure):
        tables.set_finished(connection, trial._trial_id, TrialState.FAIL)
        return TrialState.FAIL
    _put_back(connection, trial._trial_id)
    return TrialState.WAITING


def withdraw(storage: BaseStorage, studies: Iterable[str], reason: str, *, running: bool) -> int:
    """Fail the waiting trials of studies, and with `running` those that workers train; returns how many.

    A trial that runs without a worker's mark was asked with the stock command line, and stays.
    """
    ids = in_transaction(storage, _unfinished, list(studies), running)
    return sum(in_transaction(storage, _withdraw, trial_id, reason, running) for trial_id in ids)


def _unfinished(connection: Connection, studies: list[str], running: bool) -> list[int]:
    named = select(tables.TRIALS.c.trial_id).join(tables.STUDIES, tables.STUDIES.c.study_id == tables.TRIALS.c.study_id)
    states = [TrialState.WAITING] + [TrialState.RUNNING] * running
    wanted = named.where(tables.STUDIES.c.study_name.in_(studies), tables.TRIALS.c.state.in_(states))
    return list(connection.scalars(wanted))


def _withdraw(connection: Connection, trial_id: int, reason: str, running: bool) -> bool:
    state = tables.locked_state(connection, trial_id)
    taken = running and state == TrialState.RUNNING
    marked = taken and tables.user_attribute(connection, trial_id, attributes.WORKER)
    if state != TrialState.WAITING and not marked:
        return False
    tables.write_attributes(connection, tables.USER, trial_id, {attributes.REASON: reason})
    tables.set_finished(connection, trial_id, TrialState.FAIL)
    return True


_MARK = (tables.USER.c.trial_id == tables.TRIALS.c.trial_id) & (tables.USER.c.key == attributes.WORKER)
_OURS = (
    select(tables.TRIALS.c.trial_id)
    .join(tables.USER, _MARK)
    .where(tables.TRIALS.c.state == TrialState.RUNNING, tables.USER.c.value_json == bindparam("mark"))
    .where(tables.TRIALS.c.trial_id.in_(bindparam("ids", expanding=True)))
    .with_for_update(of=tables.TRIALS)
)


@transaction
def report(connection: Connection, mark: str, reports: Sequence[tuple[AnyTrial, int, float]]) -> list[bool]:
    """Write what trials report, all of them in one transaction. Returns which of them still run under this mark; only
    they report.

    reports: trial, step and value. A step that a trial has reported before stays as it is, as with Optuna's own call.
    """
    ids = [trial._trial_id for trial, _, _ in reports]
    ours = set(connection.scalars(_OURS, {"mark": json.dumps(mark), "ids": ids}))
    values = [(trial._trial_id, step, value) for trial, step, value in reports]
    tables.write_reports(connection, [each for each in values if each[0] in ours])
    return [trial_id in ours for trial_id in ids]


@transaction
def owned(connection: Connection, trial: AnyTrial, mark: str) -> bool:
    """Whether a trial still runs under this mark."""
    return _runs_under(connection, trial._trial_id, mark)


@transaction
def finish(
    connection: Connection,
    trial: AnyTrial,
    mark: str,
    state: TrialState,
    value: float | None,
    pending: PendingWrites | None = None,
    reports: Mapping[int, float] = MappingProxyType({}),
) -> bool:
    """End a trial, with its value and what is yet to be written of it; False if it is not running under this mark.

    reports: all that it has made, by step: a database that was restored from a copy meanwhile lacks some.
    """
    before = tables.locked_state(connection, trial._trial_id)
    if not _has(connection, trial._trial_id, mark) or before not in (TrialState.RUNNING, state):
        return False
    if before == state:
        return True
    if pending:
        pending.write(connection, trial._trial_id)
    if reports:
        tables.write_reports(connection, [(trial._trial_id, step, report) for step, report in reports.items()])
    if value is not None:
        tables.write_value(connection, trial._trial_id, value)
    tables.set_finished(connection, trial._trial_id, state)
    return True


@transaction
@readable
def owned_trials(connection: Connection, studies: Iterable[str]) -> list[OwnedTrial]:
    """The running trials of these studies that carry a worker's mark."""
    trials, beats, study_name = tables.TRIALS, tables.HEARTBEATS, tables.STUDIES.c.study_name
    wanted = (
        select(trials.c.trial_id, study_name, trials.c.number, tables.USER.c.value_json, beats.c.heartbeat)
        .join(tables.STUDIES, tables.STUDIES.c.study_id == trials.c.study_id)
        .join(tables.USER, _MARK)
        .outerjoin(beats, beats.c.trial_id == trials.c.trial_id)
        .where(study_name.in_(list(studies)), trials.c.state == TrialState.RUNNING)
    )
    # The server's clock, as heartbeats are
    now = connection.execute(select(func.now())).scalar_one().replace(tzinfo=None)
    return [
        OwnedTrial(trial_id, study, number, mark, (now - beat).total_seconds() if beat else math.nan)
        for trial_id, study, number, text, beat in connection.execute(wanted)
        if isinstance(mark := parsed(text), str)
    ]


@contextlib.contextmanager
def beating(storage: BaseStorage, trials: Callable[[], Sequence[AnyTrial]]) -> Iterator[None]:
    """Say from a thread, now and then, that the worker of the trials that there are then lives."""
    stop = threading.Event()

    def go() -> None:
        while not stop.wait(BEAT):
            with contextlib.suppress(Exception):  # a storage out of reach: whoever trains the trial will say so
                if ids := [trial._trial_id for trial in trials()]:
                    with uncached(storage).engine.begin() as connection:  # the next beat comes soon enough
                        tables.beat(connection, ids)

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


def _runs_under(connection: Connection, trial_id: int, mark: str | None) -> bool:
    """Whether a trial runs under this mark; then it does so until the transaction ends."""
    if tables.locked_state(connection, trial_id) != TrialState.RUNNING:
        return False
    return _has(connection, trial_id, mark)


def _has(connection: Connection, trial_id: int, mark: str | None) -> bool:
    """Whether a trial has this mark: that of who trains it, or has ended it."""
    return bool(tables.user_attribute(connection, trial_id, attributes.WORKER) == mark)


def _twin_runs(connection: Connection, trial_id: int, identity: str) -> bool:
    """Whether somebody trains what this trial is to train. Nobody else begins to before the transaction ends."""
    tables.lock_study(connection, trial_id)
    return tables.equal_runs(connection, trial_id, attributes.IDENTITY, identity, attributes.WORKER)


def _put_back(connection: Connection, trial_id: int) -> None:
    tables.set_waiting(connection, trial_id)
    tables.delete_attribute(connection, trial_id, attributes.WORKER)
    tables.stop_beating(connection, trial_id)


def _sign(connection: Connection, trial_id: int, mark: str) -> None:
    tables.write_attributes(connection, tables.USER, trial_id, {attributes.WORKER: mark})
    tables.first_beat(connection, trial_id)


def _too_often(connection: Connection, trial_id: int, reason: str) -> bool:
    """Write a failure down. Returns whether it was one too many, and says so on the trial."""
    iteration = tables.last_step(connection, trial_id)
    before = attributes.failures(tables.user_attribute(connection, trial_id, attributes.FAILURES))
    failures = [*before, {"iteration": iteration, "reason": reason}]
    tables.write_attributes(connection, tables.USER, trial_id, {attributes.FAILURES: failures})
    if stuck(failures, iteration) < ATTEMPTS:
        return False
    where = f"after its report at step {iteration:,}" if iteration else "before its first evaluation"
    verdict = f"{ATTEMPTS} workers died on it {where}; the last one: {reason}"
    tables.write_attributes(connection, tables.USER, trial_id, {attributes.REASON: verdict})
    return True
