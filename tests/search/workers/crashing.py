"""Workers that die on command, for test_faults.py: a process that loads everything once, and forks a worker for each
request.

    python crashing.py

Reads a request a line from standard input, as JSON, and answers each with a line: the exit statuses of its workers. The
process itself never opens a database, since a fork must not inherit one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy
import torch
from optuna.samplers import RandomSampler

import tunemax.gpt.files
import tunemax.search.storage.ownership
import tunemax.search.workers.worker
from tunemax.gpt.data import open_data
from tunemax.gpt.trainer import Trainer
from tunemax.search.storage import marks, queue, recovery
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.ownership import ATTEMPTS
from tunemax.search.storage.questions import load_from
from tunemax.search.storage.transit import Transit
from tunemax.search.workers.crew import watchers
from tunemax.search.workers.events import Event, Note, Reported
from tunemax.search.workers.snapshots import Snapshots

BEYOND = 2
"""Signs that workers give after the one at which they are killed: the one who kills may be slow, and they may not be
done before."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(
    function: Callable[..., Any], when: Callable[..., bool], nth: int, *, after: bool = False
) -> Callable[..., Any]:
    """The function, but its nth call for which `when` holds kills the process, before or after it has done its work."""
    left = nth

    def called(*arguments: Any, **keywords: Any) -> Any:
        nonlocal left
        left -= when(*arguments, **keywords)
        if left:
            return function(*arguments, **keywords)
        if after:
            function(*arguments, **keywords)
        die()
        return None

    return called


def die_in_transaction(owner: Any, name: str, when: Callable[..., bool], nth: int) -> None:
    """Kill the process when the nth such call has written all it has to write, and is about to commit it."""
    function, left, doomed = getattr(owner, name), nth, False

    def called(*arguments: Any, **keywords: Any) -> Any:
        nonlocal left, doomed
        left -= when(*arguments, **keywords)
        doomed = left == 0
        return function(*arguments, **keywords)

    setattr(owner, name, called)

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "commit")
    def commit(_connection: sqlalchemy.Connection) -> None:
        if doomed:
            die()


def always(*_: Any, **__: Any) -> bool:
    return True


def half_written(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        die()


def at(point: str, nth: int) -> None:
    """Arrange that this process dies when it comes to a point for the nth time."""
    match point:
        case "before a snapshot":
            Snapshots.save = dying(Snapshots.save, always, nth)  # type: ignore[method-assign]
        case "after a snapshot":
            Snapshots.save = dying(Snapshots.save, always, nth, after=True)  # type: ignore[method-assign]
        case "in a snapshot":
            write, left = tunemax.gpt.files.write_through, nth

            def written(path: Path, data: bytes) -> None:
                nonlocal left
                left -= 1
                write(path, data) if left else half_written(path, data)

            tunemax.gpt.files.write_through = written
        case "before the renaming of a snapshot":
            os.replace = dying(os.replace, always, nth)
        case "in a claim":
            die_in_transaction(tunemax.search.storage.queue, "take", always, nth)
        case "after a claim":
            tunemax.search.storage.queue.take = dying(  # type: ignore[attr-defined]
                tunemax.search.storage.ownership.take, always, nth, after=True
            )
        case "in a report":
            die_in_transaction(tunemax.search.workers.worker, "report", always, nth)
        case "after a report":
            tunemax.search.workers.worker.report = dying(
                tunemax.search.storage.ownership.report, always, nth, after=True
            )  # type: ignore[attr-defined]
        case "in a tell":
            die_in_transaction(tunemax.search.workers.worker, "finish", always, nth)
        case "after a tell":
            tunemax.search.workers.worker.finish = dying(
                tunemax.search.storage.ownership.finish, always, nth, after=True
            )  # type: ignore[attr-defined]
        case "in a return":
            die_in_transaction(tunemax.search.workers.worker, "release", always, nth)
        case _:
            raise ValueError(point)


def poisoned(rate: float) -> None:
    """Arrange that training at this learning rate kills the process, as one does for which there is not enough
    memory."""
    step = Trainer.step

    def stepped(trainer: Trainer, n: int = 1) -> None:
        if any(member.config.train.learning_rate == rate for member in trainer.members):
            die()
        step(trainer, n)

    Trainer.step = stepped  # type: ignore[assignment, method-assign]


def asleep(nth: int) -> None:
    """Arrange that this process stops when it has written its nth snapshot."""
    save, left = Snapshots.save, nth

    def saved(*arguments: Any) -> None:
        nonlocal left
        save(*arguments)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGSTOP)

    Snapshots.save = saved  # type: ignore[method-assign]
    tunemax.search.storage.ownership.BEAT = 1e6  # a heartbeat would hold the database if it were stopped in the middle


def train(
    where: str,
    *,
    slots: int = 3,
    point: str | None = None,
    nth: int = 1,
    poison: float | None = None,
    stop_after: int | None = None,
    host: str | None = None,
    sleep_after: int | None = None,
    notes: str | None = None,
    watched: bool = False,
    attempts: int = ATTEMPTS,
    sign: Callable[[], None],
    **_: Any,
) -> None:
    """Put back what the dead have left, then work on question q, with a snapshot at every evaluation."""
    tunemax.search.workers.worker.EVERY = 0.0
    tunemax.search.storage.ownership.ATTEMPTS = tunemax.search.storage.queue.ATTEMPTS = attempts  # type: ignore[attr-defined]
    if host:
        socket.gethostname = lambda: host
    if point:
        at(point, nth)
    if sleep_after:
        asleep(sleep_after)
    if poison:
        poisoned(poison)
    question, reports = load_from(where, "q"), 0

    def write_down(text: str) -> None:
        if notes:
            with open(notes, "a") as file:
                file.write(text + "\n")

    def hear(event: Event) -> None:
        nonlocal reports
        if isinstance(event, Reported):
            reports += 1
            sign()
        if isinstance(event, Note):
            write_down(event.text)

    recovery.reap(question.storage, question.siblings)
    corpus = open_data(question.definition.data)
    enough = (lambda: False) if stop_after is None else (lambda: reports >= stop_after)
    transit = Transit(question)
    watching = watchers(question, write_down, transit) if watched else ()
    tunemax.search.workers.worker.Worker(
        question, corpus, os.getpid() % 7, slots, hear, stopping=enough, watchers=watching, transit=transit
    ).run()


def pretend(where: str, log: str, sign: Callable[[], None], **_: Any) -> None:
    """Take trials of study q as a worker does, report and tell at once, and write down which."""
    storage = open_storage(where, create=False)
    with open(log, "a", buffering=1) as file:
        while trial := queue.claim("q", storage, RandomSampler(), mark=marks.mark()):
            sign()
            x = trial.suggest_float("x", 0, 1)
            for step in range(1, 6):
                trial.report(x / step, step)
            trial.study.tell(trial, x)
            file.write(f"{trial.number}\n")


class Signs:
    """What the workers of a request tell whoever started them: that one has reported something, or has taken a trial.

    Who gives a sign waits for a permit, of which there are as many as `allow` has said.
    """

    def __init__(self) -> None:
        self._given, self._give = os.pipe()
        self._permitted, self._permit = os.pipe()

    def sign(self) -> None:
        os.write(self._give, b"!")
        os.read(self._permitted, 1)

    def allow(self, number: int) -> None:
        os.write(self._permit, b"!" * number)

    def allow_all(self) -> None:
        """From now on nobody waits."""
        os.close(self._permit)

    def leave_to_workers(self) -> None:
        """Keep the starter's ends alone."""
        os.close(self._give)
        os.close(self._permitted)

    def enter(self) -> None:
        """Keep a worker's ends alone."""
        os.close(self._given)
        os.close(self._permit)

    def wait(self, number: int) -> None:
        """Until so many have been given, or all workers have ended."""
        while number and os.read(self._given, 1):
            number -= 1

    def close(self) -> None:
        os.close(self._given)


def fork(request: dict[str, Any], signs: Signs) -> int:
    """A child that does what is asked and ends."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signs.enter()
        (pretend if request["kind"] == "pretend" else train)(**request, sign=signs.sign)
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def answer(request: dict[str, Any]) -> list[int]:
    """Start the workers of a request and wait for them.

    kill_after: kill them all when they have given so many signs, or a few more. together: none goes on from its first
    sign before each has given one. sleep_after: the only one stops; its process is told when it has.
    """
    signs, number = Signs(), request.get("workers", 1)
    children = [fork({**request, "log": f"{request.get('log')}{index}"}, signs) for index in range(number)]
    signs.leave_to_workers()
    if (killing := request.get("kill_after")) is not None:
        signs.allow(killing + BEYOND)
        signs.wait(killing)
        for child in children:
            os.kill(child, signal.SIGKILL)
    elif request.get("together"):
        signs.wait(number)
    signs.allow_all()
    if request.get("sleep_after"):
        os.waitpid(children[0], os.WUNTRACED)
        print(json.dumps(children), flush=True)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    signs.close()
    return ends


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
