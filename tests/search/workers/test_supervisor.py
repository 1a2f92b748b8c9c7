"""A run with real worker processes: killed, refused, doubled, out of time."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.search.machine.processes import WorkerSettings, warm
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage import attributes
from tunemax.search.storage.marks import mark
from tunemax.search.storage.patience import StorageLost
from tunemax.search.storage.questions import Question, create
from tunemax.search.storage.queue import claim
from tunemax.search.storage.recovery import reap
from tunemax.search.workers.events import Event, Finished, Gone, Note, Reported, Started
from tunemax.search.workers.supervisor import _follow, run

Ask = Callable[..., Question]
GRID = {
    "sampler": "grid",
    "space": {"learning_rate": [1e-3, 1e-2, 5e-2], "weight_decay": [0.0, 0.1]},
    "budget": {"trials": None, "horizon": 40},
}
LONG = {**GRID, "budget": {"trials": None, "horizon": 100}}
"""Trials that are far from done when their supervisor hears that one is evaluated for the first time."""


def results(question: Question) -> dict[tuple[str, Any], tuple[str, float | None, int]]:
    """What became of each point of each candidate."""
    return {
        (name, tuple(sorted(trial.params.items()))): (
            trial.state.name,
            trial.value,
            trial.user_attrs[attributes.ITERATIONS],
        )
        for name, trials in question.trials().items()
        for trial in trials
    }


def states(question: Question) -> Counter[TrialState]:
    return Counter(trial.state for trials in question.trials().values() for trial in trials)


def no_children() -> bool:
    return not multiprocessing.active_children()


def test_a_killed_worker_loses_nothing_and_changes_nothing(
    ask: Ask,
    work: Callable[..., Any],
    where: str,
    tmp_path: Path,
    defined: Callable[..., StudyDefinition],
    corpus: Corpus,
) -> None:
    undisturbed = create(str(tmp_path / "other.db"), defined(**LONG), corpus)
    work(undisturbed)

    question, heard = ask(**LONG), []

    def kill_once(event: Event) -> None:
        if isinstance(event, Reported) and not any(isinstance(other, Reported) for other in heard):
            victim = multiprocessing.active_children()[0]
            os.kill(victim.pid or 0, signal.SIGKILL)
        heard.append(event)

    assert run(where, "q", WorkerSettings(1, 1, 3, False, ()), seconds=None, report=kill_once)
    assert [event.text for event in heard if isinstance(event, Note)] == [
        "worker 0 died (killed by SIGKILL); started again"
    ]
    assert results(question) == results(undisturbed)
    ended = Counter((event.study, event.trial) for event in heard if isinstance(event, Finished))
    assert set(ended.values()) == {1}
    assert len(ended) == 12
    assert no_children()


def test_workers_that_keep_dying_are_given_up_and_their_trials_wait(
    ask: Ask, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunemax.search.workers.supervisor.RESTARTS", 1)
    # None is ever evaluated
    question, notes = (ask(budget={"trials": 3, "horizon": 10**6}, base={"eval_interval": 10**6}), [])

    def kill(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)
        elif isinstance(event, Started):
            for victim in multiprocessing.active_children():
                os.kill(victim.pid or 0, signal.SIGKILL)

    with pytest.raises(
        TunemaxError, match="q: a worker died 2 times in a row; what is finished is kept, the rest waits"
    ):
        run(where, "q", WorkerSettings(1, 1, 2, False, ()), seconds=None, report=kill)
    assert [note.partition(";")[2] for note in notes] == [" started again", ""]
    assert states(question) == {TrialState.WAITING: 6}
    assert no_children()


def test_workers_have_the_environment_of_whoever_starts_them(
    tmp_path: Path, defined: Callable[..., StudyDefinition], corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is then: they are forked from a process that has been there for longer."""
    for name in ("one", "other"):
        monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / name))
        storage = str(tmp_path / f"{name}.db")
        create(storage, defined(budget={"trials": 1, "horizon": 20}), corpus)
        assert run(storage, "q", WorkerSettings(1, 1, 2, False, ()), seconds=None, report=lambda event: None)
        assert list((tmp_path / name).rglob("events.*"))


def test_what_a_worker_says_goes_where_the_standard_error_is_of_whoever_starts_it(
    ask: Ask, where: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The process that it is forked from began when that was elsewhere."""
    elsewhere, before = os.open(tmp_path / "elsewhere", os.O_WRONLY | os.O_CREAT), os.dup(2)
    os.dup2(elsewhere, 2)
    warm()
    os.dup2(before, 2)
    monkeypatch.setenv("CXX", "/bin/false")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    ask(base={"compile": True}, compare=["softmax"], budget={"trials": 1, "horizon": 20})
    assert run(where, "q", WorkerSettings(1, 1, 1, None, ()), seconds=None, report=lambda event: None)
    assert capfd.readouterr().err == "compile: /bin/false is no working C++ compiler; going on without\n"
    assert (tmp_path / "elsewhere").read_text() == ""


def test_workers_outlive_the_process_that_they_were_forked_from(ask: Ask, where: str) -> None:
    question, notes = ask(**LONG), []
    killed: list[int] = []

    def kill_once(event: Event) -> None:
        if isinstance(event, Reported) and not killed:
            killed.append(forkserver._forkserver._forkserver_pid)
            os.kill(killed[0], signal.SIGKILL)
        elif isinstance(event, Note):
            notes.append(event.text)

    assert run(where, "q", WorkerSettings(1, 1, 3, None, ()), seconds=None, report=kill_once)
    assert killed
    assert notes == []
    assert states(question) == {TrialState.COMPLETE: 12}


@pytest.mark.long
def test_where_no_worker_can_be_forked_one_is_started(study_file: Callable[..., Path], tmp_path: Path) -> None:
    """A socket's path must be short, and the folder of temporary files may be deep in a cluster's tree."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    tunemax = str(Path(sys.executable).with_name("tunemax"))
    program = [tunemax, "study", "run", str(study_file()), "--storage", str(tmp_path / "deep.db")]
    ran = subprocess.run(program, env={**os.environ, "TMPDIR": str(deep)}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "complete" in ran.stdout


@pytest.mark.parametrize(
    ("state", "expected"), [("complete", 0), ("pruned", 0), ("returned", 4), ("failed", 4), ("dropped", 4)]
)
def test_only_results_make_up_for_deaths(state: str, expected: int) -> None:
    deaths, begun = Counter({0: 4, 1: 2}), {0: {("q/softmax", 3)}}
    _follow(Finished(0, "q/softmax", 3, 20, state, None), begun, deaths)
    assert deaths == {0: expected, 1: 2}
    assert begun == {0: set()}


def test_what_the_user_must_mend_is_said_once_and_nothing_is_taken(
    ask: Ask, where: str, text: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[Event] = []
    copy = Path(where).with_name("copy.txt")
    copy.write_text(text.read_text())
    question = ask(data=str(copy))
    copy.write_text("something else. " * 3000)
    with pytest.raises(TunemaxError, match=r"q: data .*copy\.txt has fingerprint"):
        run(where, "q", WorkerSettings(2, 1, 2, False, ()), seconds=None, report=told.append)
    assert all(isinstance(event, Gone) for event in told)
    assert capfd.readouterr() == ("", "")
    assert states(question) == {TrialState.WAITING: 6}
    assert no_children()


def test_two_runs_at_once_share_the_trials(ask: Ask, where: str, work: Callable[..., Any]) -> None:
    question, told = ask(budget={"trials": 8, "horizon": 60}), []
    joined = threading.Event()

    def join(event: Event) -> None:
        told.append(event)
        if isinstance(event, Reported) and not joined.is_set():
            joined.set()
            told.extend(work(question, slots=2, index=1))  # another worker, beside those of the run

    assert run(where, "q", WorkerSettings(1, 1, 2, False, ()), seconds=None, report=join)
    ended = Counter((event.study, event.trial) for event in told if isinstance(event, Finished))
    assert set(ended.values()) == {1}
    assert len(ended) == 16
    assert states(question) == {TrialState.COMPLETE: 16}


def test_trials_of_a_dead_worker_are_taken_up_by_the_next_run(ask: Ask, where: str) -> None:
    question = ask(compare=["softmax"])
    for number, worker in enumerate((mark().replace(f":{os.getpid()}:", ":4194305:"), mark(), "elsewhere:1:0")):
        trial = claim("q/softmax", question.storage, question.definition.make_sampler("q/softmax", 0))
        assert trial is not None
        assert trial.number == number
        trial.set_user_attr(attributes.WORKER, worker)
    assert reap(question.storage, question.siblings) == 1
    assert [trial.state.name for trial in question.trials()["q/softmax"]] == ["WAITING", "RUNNING", "RUNNING"]
    assert run(where, "q", WorkerSettings(1, 1, 2, False, ()), seconds=None, report=lambda _: None)
    assert [trial.state.name for trial in question.trials()["q/softmax"]] == ["COMPLETE", "RUNNING", "RUNNING"]


def test_a_trial_that_is_put_back_while_the_last_worker_ends_is_taken_up(
    ask: Ask, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own worker has died meanwhile, and nobody else is left for it."""
    question, heard = ask(compare=["softmax"], budget={"trials": 2}), []
    dead = mark().replace(f":{os.getpid()}:", ":4194305:")
    assert claim("q/softmax", question.storage, question.definition.make_sampler("q/softmax", 0), mark=dead)

    def reap_late(storage: RDBStorage, studies: Iterable[str], fates: Any = None) -> int:
        """Not before the worker has looked for trials for the last time."""
        if not any(isinstance(event, Finished) for event in heard):
            return 0
        for worker in multiprocessing.active_children():
            worker.join()
        return reap(storage, studies, fates)

    monkeypatch.setattr("tunemax.search.workers.supervisor.REAPING", -1.0)
    monkeypatch.setattr("tunemax.search.workers.supervisor.reap", reap_late)
    assert run(where, "q", WorkerSettings(1, 1, 1, False, ()), seconds=None, report=heard.append)
    assert states(question) == {TrialState.COMPLETE: 2}


@pytest.mark.parametrize("how", ["removed", "replaced", "its trials removed"])
def test_a_database_that_is_lost_meanwhile_ends_the_run(
    ask: Ask, where: str, empty_database: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Although nobody is evaluated any more, who would notice it."""
    monkeypatch.setattr("tunemax.search.workers.supervisor.REAPING", 0.5)
    question, heard = ask(budget={"horizon": 10**6}, base={"eval_interval": 10**6}), []
    before = question.study("q/softmax")
    before.tell(before.ask(), 1.0)

    def lose(event: Event) -> None:
        heard.append(event)
        if not isinstance(event, Started) or len([each for each in heard if isinstance(each, Started)]) != 4:
            return
        if how == "its trials removed":
            with question.storage.engine.begin() as connection:
                connection.exec_driver_sql("DELETE FROM trials WHERE state = 'COMPLETE'")
        else:
            Path(where).unlink()
        if how == "replaced":
            shutil.copyfile(empty_database, where)

    with pytest.raises(StorageLost) as caught:
        run(where, "q", WorkerSettings(1, 1, 4, False, ()), seconds=None, report=lose)
    assert str(caught.value).startswith(f"{where}: ")
    assert str(Path(where).with_name("studies.runs")) in str(caught.value)
    assert no_children()
    if how == "removed":
        assert not Path(where).exists()
    if how == "replaced":
        assert Path(where).read_bytes() == empty_database.read_bytes()
    assert not any(isinstance(event, Note) for event in heard)


def test_with_nothing_to_do_no_worker_is_started(ask: Ask, where: str, work: Callable[..., Any]) -> None:
    work(ask())
    assert run(
        where, "q", WorkerSettings(2, 1, 2, False, ()), seconds=None, report=lambda event: pytest.fail(f"{event}")
    )


def test_few_trials_are_spread_over_the_workers(ask: Ask, where: str) -> None:
    ask(budget={"trials": 2})
    told: list[Event] = []
    assert run(where, "q", WorkerSettings(2, 1, 8, False, ()), seconds=None, report=told.append)
    running: Counter[int] = Counter()
    for event in told:
        if isinstance(event, (Started, Finished)):
            running[event.worker] += 1 if isinstance(event, Started) else -1
            assert running[event.worker] <= 2, "one worker took what the other was to have"
    assert sum(isinstance(event, Finished) for event in told) == 4
