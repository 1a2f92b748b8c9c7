"""The worker processes of a run, each behind a pipe of its own, and the process that they are forked from.

That one loads torch and the rest while its parent plans; a worker is there at once then, also one that replaces a dead one, and
workers share the memory of what was loaded. It never computes, so torch has no threads yet, and those of numpy's OpenBLAS are
that library's own to stop before a fork. Where forking is not safe (macOS) or fails (no socket can be made), workers are started
as new processes, which takes seconds and changes nothing else.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from gpt import hardware
from gpt.errors import TunemaxError
from search.events import Event, Note

if TYPE_CHECKING:  # who warms up has loaded nothing yet
    from search.plan import Plan
    from search.question import Question
    from search.worker import Watcher

STARTING = multiprocessing.get_context("spawn")
FORKING: ForkServerContext | SpawnContext = multiprocessing.get_context("forkserver") if sys.platform == "linux" else STARTING
UNKNOWN = 255
"""Exit status of a worker whose server has died before it: nobody knows how it ended."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
STREAMS = (1, 2)
"""File descriptors of standard output and standard error."""
LOADED = ["torch", "search.artifacts", "search.boards", "search.trajectories", "search.worker"]
"""What workers need."""


def warm() -> None:
    """Begin to load what workers need, in the process that they will be forked from: it takes seconds, in which a caller may plan.

    Does nothing where workers are not forked, or where this process has such a server already.
    """
    if FORKING is STARTING:
        return
    FORKING.set_forkserver_preload(LOADED)
    with contextlib.suppress(OSError), _as_workers_are():  # a worker that cannot be forked is started
        forkserver.ensure_running()


def begin(body: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that runs a function of a module, as workers are: deaf to Ctrl-C, and with the streams and environment of this one."""
    streams = [Connection(os.dup(number), readable=False) for number in STREAMS]
    try:
        try:
            return _started(FORKING, streams, body, arguments)
        except (OSError, EOFError):  # no socket, as where the path of temporary files is too long; or the server has died
            return _started(STARTING, streams, body, arguments)
    finally:
        for stream in streams:
            stream.close()


def _started(
    context: ForkServerContext | SpawnContext, streams: Sequence[Connection], body: Callable[..., None], arguments: tuple[Any, ...]
) -> BaseProcess:
    process: BaseProcess = context.Process(target=_settled, args=(streams, dict(os.environ), body, arguments), daemon=True)
    try:
        with _as_workers_are():
            process.start()
    except KeyboardInterrupt:  # of a Ctrl-C that came meanwhile; the process is deaf to it
        if process.pid:
            process.kill()
        raise
    return process


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
        ours, theirs = FORKING.Pipe()
        process = begin(_work, theirs, index, *self._order)
        theirs.close()
        self.links[ours] = (index, process)

    def listen(self) -> list[tuple[Connection, Event | TunemaxError | None]]:
        """What workers have said by now, waiting a moment if nothing; None from one that has ended."""
        return [(link, _hear(link)) for link in wait(list(self.links), timeout=0.2) if isinstance(link, Connection)]

    def bury(self, link: Connection) -> tuple[int, int, int | None]:
        """Forget a worker that has ended. Returns its index, its process's number and exit status; None if nobody knows that."""
        index, process = self.links.pop(link)
        process.join()
        link.close()
        return index, process.pid or 0, None if process.exitcode == UNKNOWN else process.exitcode

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


def _settled(streams: Sequence[Connection], environment: Mapping[str, str], body: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """What a process runs. streams and environment: of whoever starts it, not of the process that it is forked from."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    for stream, descriptor in zip(streams, STREAMS, strict=True):
        os.dup2(stream.fileno(), descriptor)
        stream.close()
    os.environ.clear()
    os.environ.update(environment)
    body(*arguments)


def tune(route: hardware.Route, threads: int) -> None:
    """Set this process up for training, as a worker is."""
    import torch

    hardware.keep_memory()
    hardware.take(route)
    torch.set_num_threads(threads)


def _work(link: Connection, index: int, where: str, name: str, plan: Plan, deadline: float | None) -> None:
    """The body of a worker process."""
    from gpt.data import open_data
    from search.question import load_from
    from search.storage import storage_errors
    from search.worker import Worker

    tune(plan.route, plan.threads)

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
