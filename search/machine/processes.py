"""Processes beside this one: the one that workers are forked from, a worker's, and one for a measurement.

The first loads torch and the rest while its parent plans; a worker is there at once then, also one that replaces a dead
one, and workers share the memory of what was loaded. It never computes, so torch has no threads yet, and those of
numpy's OpenBLAS are that library's own to stop before a fork. Where forking is not safe (macOS) or fails (no socket can
be made), workers are started as new processes, which takes seconds and changes nothing else.

None of them looks for modules in the working directory, whose files are the user's own and may be called like any.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, TypeVar

from tunemax.gpt import hardware, matmul, plugins
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.visible import screen

T = TypeVar("T")
Context = ForkServerContext | SpawnContext
STARTING = multiprocessing.get_context("spawn")
FORKING: Context = multiprocessing.get_context("forkserver") if sys.platform == "linux" else STARTING
UNKNOWN = 255
"""Exit status of a worker whose server has died before it: nobody knows how it ended."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAFE_PATH = "PYTHONSAFEPATH"
"""Environment variable of Python's own."""
STREAMS = (1, 2)
"""File descriptors of standard output and standard error."""
LOADED = [
    "torch",
    "tunemax.search.workers.artifacts",
    "tunemax.search.workers.loggers",
    "tunemax.search.workers.learnables",
    "tunemax.search.workers.weights",
    "tunemax.search.workers.worker",
]
"""What workers need, by name: a room that stands below this one, and that nothing here calls."""


@dataclass(frozen=True)
class WorkerSettings:
    """workers: processes. threads: of each. slots: members that each trains at once.

    compiled: whether all trials train compiled; None leaves it to their own configuration. lines: for the user, in
    plain words. route: of matrix products, the same for all workers: a trial may go on in another one.
    """

    workers: int
    threads: int
    slots: int
    compiled: bool | None
    lines: tuple[str, ...] = ()
    route: matmul.Route = "default"


def warm() -> None:
    """Begin to load what workers need, in the process that they will be forked from, which takes seconds.

    Does nothing where workers are not forked, or where this process has such a server already.
    """
    if FORKING is STARTING:
        return
    FORKING.set_forkserver_preload(LOADED)
    with contextlib.suppress(OSError), _as_workers_are():  # a worker that cannot be forked is started
        forkserver.ensure_running()


def begin(body: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that runs a function as workers do: deaf to Ctrl-C, with the streams and environment of this one."""
    streams = [Connection(os.dup(number), readable=False) for number in STREAMS]
    try:
        try:
            return _started(FORKING, streams, body, arguments)
        except (OSError, EOFError):
            # no socket, as where the path of temporary files is too long; or the server has died
            return _started(STARTING, streams, body, arguments)
    finally:
        for stream in streams:
            stream.close()


def _started(context: Context, streams: Sequence[Connection], body: Callable[..., None], arguments: Any) -> BaseProcess:
    order = (streams, dict(os.environ), _Sealed((body, arguments)))
    process: BaseProcess = context.Process(target=_settled, args=order, daemon=True)
    try:
        with _as_workers_are():
            process.start()
    except KeyboardInterrupt:  # of a Ctrl-C that came meanwhile; the process is deaf to it
        if process.pid:
            process.kill()
        raise
    return process


def aside(function: Callable[..., T], *arguments: Any, route: matmul.Route) -> T | None:
    """What a function of a module returns there; None if the process dies of it. Raises TunemaxError if it does."""
    warm()
    ours, theirs = FORKING.Pipe()
    process = begin(_answer, theirs, function, arguments, route)
    try:
        theirs.close()
        answered: T | TunemaxError | None = ours.recv()
    except (EOFError, OSError):
        answered = None
    finally:  # it has answered; or this process is interrupted, and that one deaf to it
        process.kill()
        process.join()
    if isinstance(answered, TunemaxError):
        raise answered
    return answered


def _answer(link: Connection, function: Callable[..., Any], arguments: tuple[Any, ...], route: matmul.Route) -> None:
    """The body of the process."""
    for name in LOADED:  # what a worker loads takes memory too
        importlib.import_module(name)
    set_up(route, threads=1)
    with contextlib.suppress(OSError):  # nobody waits any more
        try:
            link.send(function(*arguments))
        except TunemaxError as error:
            link.send(error)
        except (MemoryError, RuntimeError):  # as torch says that memory is short; no answer says it here
            link.close()


@contextlib.contextmanager
def _as_workers_are() -> Iterator[None]:
    """What starts meanwhile, and what it forks, has large pages and is deaf to Ctrl-C, which the whole group gets."""
    with _safe_path():
        # it would start together with a process, and that unblocks what is blocked here
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            with hardware.large_pages():
                yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """A Python that starts meanwhile begins without the working directory in its path."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


def python(module: str) -> list[str]:
    """The words that start a module's `main` in a process of its own, with this one's path, safely."""
    home = str(Path(__file__).absolute().parents[3])  # of `tunemax`, which somebody may have found by an empty entry
    path = list(dict.fromkeys([*filter(None, sys.path), home]))
    return [sys.executable, "-P", "-c", f"import sys; sys.path = {path!r}; from {module} import main; main()"]


class _Sealed:
    """What a process reads once it has the plug-ins of whoever starts it: of these there may be something in it."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (bytes(ForkingPickler.dumps(self._content)),)  # when a process starts, so that pipes can go along


def _settled(streams: Sequence[Connection], environment: Mapping[str, str], sealed: bytes) -> None:
    """What a process runs. streams and environment: of whoever starts it, not of the process that it is forked from.
    sealed: the function, and its arguments."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    for stream, descriptor in zip(streams, STREAMS, strict=True):
        os.dup2(stream.fileno(), descriptor)
        stream.close()
    os.environ.clear()
    os.environ.update(environment)
    screen()
    with contextlib.suppress(TunemaxError):  # whoever needs them will say so
        plugins.load_named()
    body, arguments = ForkingPickler.loads(sealed)
    body(*arguments)


def set_up(route: matmul.Route, threads: int) -> None:
    """Set this process up for training, as a worker is."""
    import torch

    hardware.keep_memory()
    matmul.take(route)
    torch.set_num_threads(threads)
