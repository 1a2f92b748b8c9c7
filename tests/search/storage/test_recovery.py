"""Whose worker is gone, by the mark that it has left on its trial."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import optuna
import psutil
import pytest
import sqlalchemy
from optuna.trial import TrialState
from waiting import until

from tunemax.search.storage import tables
from tunemax.search.storage.marks import Mark, mark
from tunemax.search.storage.questions import Question
from tunemax.search.storage.queue import claim
from tunemax.search.storage.recovery import GRACE, reap

NOBODY = 4194305
"""No process has this number: Linux ends at 4194304."""


def own() -> Mark:
    read = Mark.read(mark())
    assert read
    return read


@pytest.fixture
def others() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives as long as the test."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(b"\n")


@pytest.fixture
def zombie() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    yield process.pid
    process.wait()


def fall_silent(question: Question, seconds: float) -> None:
    """As if the last heartbeats were so long ago."""
    with question.storage.engine.begin() as connection:
        age = sqlalchemy.func.datetime("now", f"-{seconds:.0f} seconds")
        connection.execute(tables.HEARTBEATS.update().values(heartbeat=sqlalchemy.cast(age, sqlalchemy.String)))


def reaped(question: Question, owner: str, *, silent: float = 0.0) -> bool:
    assert claim("q/softmax", question.storage, optuna.samplers.RandomSampler(seed=1), mark=owner)
    if silent:
        fall_silent(question, silent)
    count = reap(question.storage, question.siblings)
    states = [trial.state for trial in question.trials()["q/softmax"]]
    assert states == [TrialState.WAITING if count else TrialState.RUNNING]
    return bool(count)


@pytest.fixture
def question(ask: Callable[..., Question]) -> Question:
    return ask(compare=["softmax"], budget={"trials": 1})


SEEN: dict[str, Any] = {"this process": {}, "no process": {"pid": NOBODY}, "a later one of its number": {"start": "17"}}
"""What may have become of a process that can be seen from here; only the first one lives."""


@pytest.mark.parametrize("silent", [0.0, 1e4])
@pytest.mark.parametrize("what", SEEN)
def test_a_process_that_can_be_seen_is_judged_by_what_is_seen(question: Question, what: str, silent: float) -> None:
    assert reaped(question, str(replace(own(), **SEEN[what])), silent=silent) == (what != "this process")


UNSEEN: dict[str, Any] = {
    "of another machine": {"host": "elsewhere"},
    "of another container, which has this host's name": {"namespace": "4026539999"},
    "of this machine, before it was restarted": {"boot": "0123456789abcdef"},
}


@pytest.mark.parametrize("there", [False, True], ids=["no process here has its number", "one has"])
@pytest.mark.parametrize("silent", [0.0, GRACE - 30, GRACE + 30])
@pytest.mark.parametrize("place", UNSEEN)
def test_a_process_that_cannot_be_seen_is_judged_by_its_heartbeat(
    question: Question, place: str, silent: float, there: bool
) -> None:
    unseen = replace(own(), **UNSEEN[place])
    assert reaped(question, str(unseen if there else replace(unseen, pid=NOBODY)), silent=silent) == (silent > GRACE)


@pytest.mark.parametrize("silent", [0.0, GRACE + 30])
@pytest.mark.parametrize("there", [False, True], ids=["no process here has its number", "one has"])
def test_a_mark_of_an_older_version_is_judged_by_its_heartbeat(question: Question, there: bool, silent: float) -> None:
    began = psutil.Process().create_time() - 1000  # as after a step of the clock
    pid = os.getpid() if there else NOBODY
    assert reaped(question, f"{own().host}:{pid}:{began:.0f}", silent=silent) == (silent > GRACE)


def test_a_mark_does_not_follow_the_clock(
    question: Question, others: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from tunemax.search.storage.marks import mark; print(mark())"
    marks = {subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)}
    assert len(marks) == 2
    began = psutil.Process(others.pid).create_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: began + 3600)
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert mark() == mark() == str(own())
    assert not reaped(question, mark())


def test_a_process_that_has_ended_and_was_not_waited_for_is_dead(question: Question, zombie: int) -> None:
    assert reaped(question, str(replace(own(), pid=zombie)))


def test_a_fork_has_a_mark_of_its_own() -> None:
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.write(writing, mark().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = Mark.read(os.read(reading, 1000).decode())
    assert theirs
    assert theirs.pid == child
    assert theirs.token != own().token


@pytest.mark.parametrize("text", ["", "box", "box:1", "box:1:1700000000", "box:x:1:2:3:4", "box:1:2:3:4:5:6"])
def test_what_is_no_mark_of_this_version(text: str) -> None:
    assert Mark.read(text) is None
