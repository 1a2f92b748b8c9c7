"""The worker processes of a run, each behind a pipe of its own, and the process that they are forked from.

That one loads torch and the rest while its parent plans; a worker is there at once then, also one that replaces a dead one, and
workers share the memory of what was loaded. What it holds no thread has touched, so a fork is safe.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from gpt import hardware
from gpt.errors import TunemaxError
from search.events import Event, Note

if TYPE_CHECKING:  # who warms up has loaded nothing yet
    from search.plan import Plan
    from search.question import Question
    from search.worker import Watcher

CONTEXT = multiprocessing.get_context("forkserver")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOADED = ["torch", "search.artifacts", "search.boards", "search.trajectories", "search.worker"]
"""What workers need."""


def warm() -> None:
    """Begin to load what workers need, in the process that they will be forked from: it takes seconds, so do it first."""
    CONTEXT.set_forkserver_preload(LOADED)
    with _as_workers_are():
        forkserver.ensure_running()


class Crew:
    """The worker processes, each behind a pipe of its own: a shared queue or event would not survive a killed worker.

    Through its pipe a worker says what happens, and why it cannot begin. It stops as soon as there is something to read,
    or its supervisor is gone.
    """

    def __init__(self, where: str, name: str, plan: Plan, deadline: float | None) -> None:
        self.links: dict[Connection, tuple[int, BaseProcess]] = {}
        self._order = (where, name, plan, deadline)
        self._stopped: set[Connection] = set()

    def start(self, index: int) -> None:
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_work, args=(theirs, index, dict(os.environ), *self._order), daemon=True)
        with _as_workers_are():
            process.start()
        theirs.close()
        self.links[ours] = (index, process)

    def listen(self) -> list[tuple[Connection, Event | TunemaxError | None]]:
        """What workers have said by now, waiting a moment if nothing; None from one that has ended."""
        return [(link, _hear(link)) for link in wait(list(self.links), timeout=0.2) if isinstance(link, Connection)]

    def bury(self, link: Connection) -> tuple[int, BaseProcess]:
        """Forget a worker that has ended. Returns its index and what is left of its process."""
        index, process = self.links.pop(link)
        process.join()
        link.close()
        return index, process

    def stop(self) -> None:
        """Ask every worker, once, to give back what it trains and end."""
        for link in self.links.keys() - self._stopped:
            with contextlib.suppress(OSError):  # it has ended
                link.send(None)
        self._stopped.update(self.links)


def watchers(question: Question, note: Callable[[str], None]) -> list[Watcher]:
    """Who follows the trials of a worker. note: told in one line what a user should know."""
    from search.artifacts import Artifacts
    from search.boards import Boards
    from search.trajectories import Trajectories

    return [Boards(question, note), Trajectories(question.storage.url), Artifacts(question.storage.url, note)]


def _hear(link: Connection) -> Event | TunemaxError | None:
    try:
        said: Event | TunemaxError = link.recv()
        return said
    except (EOFError, OSError):
        return None


@contextlib.contextmanager
def _as_workers_are() -> Iterator[None]:
    """What starts meanwhile has large pages, and is deaf to Ctrl-C, which goes to the whole group; what it forks inherits both."""
    resource_tracker.ensure_running()  # it would start together with a process, and that unblocks what is blocked here
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with hardware.large_pages():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _work(link: Connection, index: int, environment: dict[str, str], where: str, name: str, plan: Plan, deadline: float | None) -> None:
    """The body of a worker process."""
    import torch

    from gpt.data import open_data
    from search.question import load_from
    from search.storage import storage_errors
    from search.worker import Worker

    os.environ.clear()  # so far it is of when the process began that this one was forked from
    os.environ.update(environment)

    hardware.keep_memory()
    hardware.take(plan.route)

    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(plan.threads)

    def say(said: Event | TunemaxError) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone; `poll` knows too
            link.send(said)

    def note(line: str) -> None:
        say(Note(index, line))

    try:
        question = load_from(where, name)
        question = question if plan.compiled is None else question.fixing(compile=plan.compiled)
        with storage_errors(question.storage.url):
            corpus = open_data(question.definition.data)
            question.check_data(corpus)
            closing = (lambda: False) if deadline is None else (lambda: time.time() > deadline)
            watching = watchers(question, note)
            Worker(question, corpus, index, plan.slots, report=say, stopping=link.poll, closing=closing, watchers=watching).run()
    except TunemaxError as error:  # the user's to mend; another start would meet it again
        say(error)
