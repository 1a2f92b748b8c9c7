"""Workers that die on command, for test_faults.py: a process that loads everything once, and forks a worker for each request.

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
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy
import torch
from optuna.samplers import RandomSampler

import gpt.files
import search.ownership
import search.worker
from gpt.data import open_data
from gpt.trainer import Trainer
from search import queue, recovery
from search.events import Event, Note, Reported, Started
from search.ownership import ATTEMPTS
from search.question import load_from
from search.snapshots import Snapshots
from search.storage import open_storage


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(function: Callable[..., Any], when: Callable[..., bool], nth: int, *, after: bool = False) -> Callable[..., Any]:
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
            write, left = gpt.files.write_through, nth

            def written(path: Path, data: bytes) -> None:
                nonlocal left
                left -= 1
                write(path, data) if left else half_written(path, data)

            gpt.files.write_through = written
        case "before the renaming of a snapshot":
            os.replace = dying(os.replace, always, nth)
        case "in a claim":
            die_in_transaction(search.queue, "take", always, nth)
        case "after a claim":
            search.queue.take = dying(  # type: ignore[attr-defined]
                search.ownership.take, always, nth, after=True
            )
        case "in a report":
            die_in_transaction(search.worker, "report", always, nth)
        case "after a report":
            search.worker.report = dying(search.ownership.report, always, nth, after=True)  # type: ignore[attr-defined]
        case "in a tell":
            die_in_transaction(search.worker, "finish", always, nth)
        case "after a tell":
            search.worker.finish = dying(search.ownership.finish, always, nth, after=True)  # type: ignore[attr-defined]
        case "in a return":
            die_in_transaction(search.worker, "give_back", always, nth)
        case _:
            raise ValueError(point)


def poisoned(rate: float) -> None:
    """Arrange that training at this learning rate kills the process, as one does for which there is not enough memory."""
    step = Trainer.step

    def stepped(trainer: Trainer, n: int = 1) -> None:
        if any(member.config.train.learning_rate == rate for member in trainer.members):
            die()
        step(trainer, n)

    Trainer.step = stepped  # type: ignore[assignment, method-assign]


def train(
    where: str,
    *,
    slots: int = 3,
    point: str | None = None,
    nth: int = 1,
    poison: float | None = None,
    stop_after: int | None = None,
    host: str | None = None,
    notes: str | None = None,
    attempts: int = ATTEMPTS,
    begun: int,
    **_: Any,
) -> None:
    """Put back what the dead have left, then work on question q, with a snapshot at every evaluation."""
    search.worker.EVERY = 0.0
    search.ownership.ATTEMPTS = search.queue.ATTEMPTS = attempts  # type: ignore[attr-defined]
    if host:
        socket.gethostname = lambda: host
    if point:
        at(point, nth)
    if poison:
        poisoned(poison)
    question, reports = load_from(where, "q"), 0

    def hear(event: Event) -> None:
        nonlocal reports
        reports += isinstance(event, Reported)
        if isinstance(event, Started):
            os.write(begun, b"!")
        if notes and isinstance(event, Note):
            with open(notes, "a") as file:
                file.write(event.text + "\n")

    recovery.reap(question)
    corpus = open_data(question.definition.data)
    enough = (lambda: False) if stop_after is None else (lambda: reports >= stop_after)
    search.worker.Worker(question, corpus, os.getpid() % 7, slots, hear, stopping=enough).run()


def pretend(where: str, log: str, begun: int, **_: Any) -> None:
    """Take trials of study q as a worker does, report and tell at once, and write down which."""
    storage = open_storage(where, create=False)
    with open(log, "a", buffering=1) as file:
        while trial := queue.claim("q", storage, RandomSampler(), mark=recovery.mark()):
            os.write(begun, b"!")
            x = trial.suggest_float("x", 0, 1)
            for step in range(1, 6):
                trial.report(x / step, step)
            trial.study.tell(trial, x)
            file.write(f"{trial.number}\n")


def fork(request: dict[str, Any]) -> int:
    """A child that does what is asked and ends."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        (pretend if request["kind"] == "pretend" else train)(**request)
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def answer(request: dict[str, Any]) -> list[int]:
    """Start the workers of a request and wait for them; or kill them, if it says how many seconds after one of them has a trial."""
    reading, begun = os.pipe()
    each = [{**request, "begun": begun, "log": f"{request.get('log')}{number}"} for number in range(request.get("workers", 1))]
    children = [fork(one) for one in each]
    os.close(begun)
    if request.get("tell_pid"):
        print(json.dumps(children), flush=True)
    if (seconds := request.get("kill_after")) is not None:
        os.read(reading, 1)  # or all have ended
        time.sleep(seconds)
        for child in children:
            os.kill(child, signal.SIGKILL)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    os.close(reading)
    return ends


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
