"""A storage that is out of reach for a while, or for good: it is waited for, and nothing is done twice or lost."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage import attributes
from tunemax.search.storage.database import open_storage, uncached
from tunemax.search.storage.marks import mark
from tunemax.search.storage.ownership import finish, owned_trials, release, report, take
from tunemax.search.storage.patience import Patience, StorageLost, is_passing
from tunemax.search.storage.questions import Question, create
from tunemax.search.storage.recovery import GRACE, Witness, reap
from tunemax.search.workers.events import Event, Reported
from tunemax.search.workers.snapshots import FILE

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
LOCKED = sqlite3.OperationalError("database is locked")
PLAN: dict[str, Any] = {
    "compare": ["softmax", "constantmax"],
    "sampler": "grid",
    "space": {"learning_rate": [1e-3, 1e-2]},
    "budget": {"trials": 2, "horizon": 30},
    "pruner": {"name": "median", "startup": 1, "warmup": 0.4},
}


def lost(reason: str = "server closed the connection unexpectedly") -> OperationalError:
    return OperationalError("SELECT 1", None, Exception(reason))


@dataclass
class Clock:
    """A clock that goes on when somebody waits, and what was told meanwhile."""

    now: float = 1000.0
    pauses: list[float] = field(default_factory=list)
    told: list[tuple[str, bool]] = field(default_factory=list)

    def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.now += seconds
        return False

    def patience(self, limit: float = 300.0) -> Patience:
        return Patience(limit, self.pause, lambda line, over: self.told.append((line, over)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tunemax.search.storage.patience.time.monotonic", lambda: clock.now)
    return clock


def failing(times: float, error: Callable[[], Exception] = lost) -> Callable[[], str]:
    """Fails so many times, then answers."""
    left = times

    def work() -> str:
        nonlocal left
        left -= 1
        if left >= 0:
            raise error()
        return "answer"

    return work


def explain(error: Exception) -> str:
    return "db: out of reach"


# ---- patience itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [0, 1, 2, 3, 20])
def test_what_fails_for_a_while_is_done_again_and_told_once(clock: Clock, times: int) -> None:
    patience = clock.patience()
    assert patience(failing(times), explain) == "answer"
    assert clock.pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, *[10.0] * 20][:times]
    waited = ("db: out of reach; waiting for it, 5 minutes at most", False)
    assert clock.told == [waited, ("the storage answers again", True)] * (times > 1)


def test_after_minutes_it_is_lost_for_everybody(clock: Clock) -> None:
    patience, began = clock.patience(), clock.now
    for _ in range(3):  # whoever asks later does not begin to wait anew
        with pytest.raises(StorageLost, match=r"^db: out of reach; it was waited for, 5 minutes long$"):
            patience(failing(1e9), explain)
    assert 300 < clock.now - began < 320
    assert len(clock.told) == 1
    assert patience(failing(0), explain) == "answer"
    assert patience(failing(3), explain) == "answer", "it was in reach again"


def test_whoever_is_told_to_stop_waits_no_more(clock: Clock) -> None:
    patience = clock.patience()
    patience.stop()
    with pytest.raises(StorageLost):
        patience(failing(1), explain)
    assert patience(failing(0), explain) == "answer"


def test_nobody_waits_unless_asked_to(clock: Clock) -> None:
    with pytest.raises(OperationalError):
        Patience()(failing(1), explain)
    assert not clock.pauses


SQLITE: dict[str, bool] = {
    "database is locked": True,
    "database table is locked": True,
    "no such table: studies": False,
    "disk I/O error": False,
    "attempt to write a readonly database": False,
}


@pytest.mark.parametrize("text", SQLITE)
def test_of_sqlite_only_a_lock_passes(text: str) -> None:
    error = OperationalError("SELECT 1", None, sqlite3.OperationalError(text))
    assert is_passing(error) == SQLITE[text]
    wrapped = StorageInternalError("…")
    wrapped.__cause__ = error
    assert is_passing(wrapped) == SQLITE[text]


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (lost(), True),
        (InterfaceError("SELECT 1", None, Exception("connection already closed")), True),
        (ProgrammingError("SELECT 1", None, Exception("relation does not exist")), False),
        (StorageInternalError("of something else"), False),
        (TunemaxError("mend it"), False),
    ],
)
def test_of_servers_a_connection_passes(error: Exception, passes: bool) -> None:
    assert is_passing(error) == passes


# ---- a connection that drops at any transaction ----------------------------------------------------------------------


@contextlib.contextmanager
def dropping(question: Question, drops: Callable[[int], bool], after: bool) -> Iterator[list[int]]:
    """Cut off some of the transactions of a storage, by number, at their end: before it, or when it has happened and
    nobody knows. Yields the numbers of those that were cut off."""
    dialect, count, cut = question.storage.engine.dialect, 0, list[int]()
    commit = dialect.do_commit

    def committed(connection: Any) -> None:
        nonlocal count
        count += 1
        drop = drops(count)
        if after or not drop:
            commit(connection)
        if drop:
            cut.append(count)
            raise LOCKED

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialect, "do_commit", committed)
        yield cut


def patient(question: Question, clock: Clock, limit: float = 300.0) -> None:
    backend = uncached(question.storage)
    backend.patience = clock.patience(limit)  # type: ignore[attr-defined]


def found(question: Question) -> list[Any]:
    names = (attributes.ITERATIONS, attributes.TRAIN_LOSS, attributes.SPARED, attributes.FAILURES)
    return [
        (name, t.number, t.params, t.state, t.value, t.intermediate_values, [t.user_attrs.get(each) for each in names])
        for name, trials in question.trials().items()
        for t in trials
    ]


@pytest.mark.parametrize("after", [False, True], ids=["before its end", "after its end"])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_worker_whose_connection_drops_again_and_again_finds_the_same(
    ask: Ask,
    work: Work,
    clock: Clock,
    tmp_path: Path,
    defined: Callable[..., StudyDefinition],
    corpus: Any,
    every: int,
    after: bool,
) -> None:
    """Each, or every second, or every third transaction is cut off, once."""
    (tmp_path / "undisturbed").mkdir()
    undisturbed = create(str(tmp_path / "undisturbed" / "studies.db"), defined(**PLAN), corpus)
    work(undisturbed, slots=2)
    question = ask(**PLAN)
    patient(question, clock)
    again = False

    def drops(number: int) -> bool:
        nonlocal again
        again = not again and number % every == 0
        return again

    with dropping(question, drops, after) as cut:
        events = work(question, slots=2)
    assert len(cut) > 20
    assert found(question) == found(undisturbed)
    ends = [(event.study, event.trial) for event in events if type(event).__name__ == "Finished"]
    assert sorted(ends) == sorted(set(ends))
    assert not clock.told


@pytest.mark.parametrize("after", [False, True])
def test_each_change_of_hands_happens_once(ask: Ask, clock: Clock, after: bool) -> None:
    question = ask(compare=["softmax"], budget={"trials": 1})
    patient(question, clock)
    storage = question.storage

    def cut_off() -> contextlib.AbstractContextManager[list[int]]:
        return dropping(question, lambda number: number == 1, after)

    (trial,) = question.trials()["q/softmax"]
    with cut_off():
        assert take(storage, trial, mark())
    assert not take(storage, trial, "another:1:0"), "it is ours"
    with cut_off():
        assert report(storage, mark(), [(trial, 10, 1.5), (trial, 20, 1.25)]) == [True, True]
    with cut_off():
        release(storage, trial, mark(), "a fault")
    assert take(storage, trial, mark())
    with cut_off():
        assert finish(storage, trial, mark(), TrialState.COMPLETE, 1.25)
    assert not finish(storage, trial, mark(), TrialState.PRUNED, 1.25), "it has ended in another way"
    assert not finish(storage, trial, "another:1:0", TrialState.COMPLETE, 1.25), "it was not theirs"
    (ended,) = question.trials()["q/softmax"]
    assert (ended.state, ended.value, ended.intermediate_values) == (TrialState.COMPLETE, 1.25, {10: 1.5, 20: 1.25})
    assert len(ended.user_attrs[attributes.FAILURES]) == 1


def test_a_trial_that_is_measured_alone_waits_for_the_storage(
    ask: Ask, work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = iter([lost()] * 3)

    @contextlib.contextmanager
    def locked(_engine: object) -> Iterator[None]:
        for fault in faults:
            raise fault
        yield

    budget = {"trials": 1, "horizon": None, "seconds": 0.1, "looks": 2}
    question = ask(compare=["softmax"], base={"eval_interval": None}, budget=budget)
    patient(question, clock)
    monkeypatch.setattr("tunemax.search.storage.questions.locked", locked)
    work(question)
    assert [trial.state for trial in question.trials()["q/softmax"]] == [TrialState.COMPLETE]
    assert next(faults, None) is None


# ---- lost for good ---------------------------------------------------------------------------------------------------


def test_a_worker_that_has_waited_long_enough_leaves_its_trials_to_be_reaped(
    ask: Ask, work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunemax.search.workers.worker.EVERY", 3600.0)  # but for the ones that are saved at the end
    plan = {**PLAN, "pruner": "none"}
    question, gone = ask(**plan), False
    patient(question, clock)

    def go(event: Event) -> None:
        nonlocal gone
        gone = gone or isinstance(event, Reported)

    with dropping(question, lambda _: gone, after=False), pytest.raises(StorageLost, match="locked by another process"):
        work(question, on=go)
    assert 300 < sum(clock.pauses) < 320
    owned = owned_trials(question.storage, question.siblings)
    saved = list(Path(question.storage.engine.url.database or "").parent.rglob(FILE))
    assert len(owned) == len(saved) == 4
    assert reap(question.storage, question.siblings) == 0, "this process lives"
    for trial in owned:
        release(question.storage, trial, trial.mark)
    resumed = [event.iteration for event in work(question) if type(event).__name__ == "Started"]  # type: ignore[union-attr]
    assert min(resumed) >= 10
    assert all(list(values) == [10, 20, 30] for *_, values, _ in found(question))


def test_nobody_is_given_up_who_could_not_be_heard(ask: Ask, clock: Clock) -> None:
    question = ask(compare=["softmax"], budget={"trials": 1})
    patient(question, clock)
    (trial,) = question.trials()["q/softmax"]
    take(question.storage, trial, "elsewhere:1:2:3:4:5")
    with question.storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hour')")
    with dropping(question, lambda number: number < 6, after=False):
        assert reap(question.storage, question.siblings) == 0
    clock.now += GRACE - 10
    assert reap(question.storage, question.siblings) == 0
    clock.now += 20
    assert reap(question.storage, question.siblings) == 1


def replaced(where: Path, how: str) -> bytes | None:
    """Do to a database what somebody may do while it is worked on. Returns what then lies there."""
    if how == "restored":
        copy = where.with_suffix(".copy")
        with contextlib.closing(sqlite3.connect(where)) as before, contextlib.closing(sqlite3.connect(copy)) as into:
            before.backup(into)
            into.execute("PRAGMA journal_mode=DELETE")
        copy.replace(where)
    elif how == "made anew":
        for path in where.parent.glob(f"{where.name}*"):
            path.unlink()
        open_storage(where, create=True).engine.dispose()
    elif how == "something else":
        where.unlink()
        where.write_bytes(b"no database at all")
    else:
        where.unlink()
    return where.read_bytes() if where.exists() else None


@pytest.mark.parametrize("how", ["removed", "restored", "made anew", "something else"])
def test_a_database_that_is_not_the_one_that_was_opened_is_left_alone(
    ask: Ask, work: Work, where: str, how: str
) -> None:
    question, there = ask(**PLAN), None

    def swap(event: Event) -> None:
        nonlocal there
        if isinstance(event, Reported) and there is None:
            there = (replaced(Path(where), how),)

    with pytest.raises(StorageLost) as caught:
        work(question, on=swap)
    line = str(caught.value)
    assert line.startswith(f"{where}: ")
    assert "\n" not in line
    assert str(Path(where).with_name("studies.runs")) in line
    assert there == (Path(where).read_bytes() if Path(where).exists() else None,)
    assert len(list(Path(where).parent.rglob(FILE))) == 4, "what was trained is saved"
    for call in (question.trials, lambda: report(question.storage, mark(), []), lambda: reap(question.storage, [])):
        with pytest.raises(StorageLost):
            call()


def test_a_database_that_is_moved_away_and_back_is_the_same(ask: Ask, where: str) -> None:
    question = ask(**PLAN)
    shutil.move(where, f"{where}.away")
    with pytest.raises(StorageLost):
        question.trials()
    shutil.move(f"{where}.away", where)
    assert question.trials()


@pytest.mark.parametrize("change", ["nothing", "a trial more", "reopened", "a study deleted", "trials deleted"])
def test_a_witness_notices_what_has_ended_and_is_lost(ask: Ask, work: Work, change: str) -> None:
    question = ask(**PLAN)
    witness = Witness(question.storage, question.siblings)
    work(question)
    for study, trials in question.trials().items():
        for _ in trials:
            witness.saw(study)
    with question.storage.engine.begin() as connection:
        if change == "reopened":
            connection.exec_driver_sql("UPDATE trials SET state = 'WAITING' WHERE number = 1")
        elif change == "trials deleted":
            connection.exec_driver_sql("DELETE FROM trials WHERE number = 1")
        elif change == "a study deleted":
            connection.execute(sqlalchemy.text("UPDATE studies SET study_name = 'x' WHERE study_name = 'q/softmax'"))
    if change == "a trial more":
        study = question.study("q/softmax")
        study.tell(study.ask(), 1.0)
    if change in ("nothing", "a trial more"):
        witness.check()
        return
    with pytest.raises(StorageLost, match=r"studies\.db: q/(softmax|constantmax) (has lost 1 of 2|is gone)") as caught:
        witness.check()
    assert "\n" not in str(caught.value)
