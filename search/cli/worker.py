"""``tunemax worker``: one process that takes what waits in a storage, on whatever machine it runs."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli.common import count_flag, storage_flag, whole
from tunemax.search.cli.parser import add_command

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands
    from tunemax.search.machine.processes import WorkerSettings
    from tunemax.search.storage.questions import Question
    from tunemax.search.workers.events import Event

IDLE = 60
PREEMPTED = os.EX_TEMPFAIL
"""Exit status, 75: what it trained waits for others, and whoever has started it may start it again."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Whoever sends one wants the machine back. Slurm warns with SIGUSR1, if it is asked to."""


def register(commands: Subcommands) -> None:
    parser = add_command(commands, "worker", "train what waits in a storage, in one process, on any machine", run)
    parser.add_argument(
        "questions",
        nargs="*",
        metavar="QUESTION",
        help="questions of the storage, with their repeats and confirmations",
    )
    parser.add_argument("--all", action="store_true", help="whatever there is in the storage")
    count_flag(parser, "--slots", "members that it trains at once (default: as each study says)")
    parser.add_argument(
        "--idle",
        type=whole("--idle", 0),
        default=IDLE,
        metavar="N",
        help=f"seconds to wait for more once nothing waits (default: {IDLE})",
    )
    count_flag(parser, "--seconds", "start no new trial after this long")
    storage_flag(parser)


def run(arguments: argparse.Namespace) -> int:
    """Work until nothing waits any more. Returns the exit status: 0, or PREEMPTED."""
    if bool(arguments.questions) == arguments.all:
        expected = "one or the other" if arguments.all else "the names of questions, or --all"
        raise TunemaxError(f"worker: expected {expected}")
    stop = threading.Event()
    with _told_by_signals(stop):  # before what takes seconds to load: the machine may be wanted back by then
        from tunemax.search.storage.lookup import storage_of
        from tunemax.search.workers.pulling import Puller

        where = arguments.storage or storage_of(arguments.questions[0] if arguments.questions else "")
        limits = {name: getattr(arguments, name) for name in ("slots", "idle", "seconds")}
        done = Puller(where, arguments.questions, _shown, _note, **limits, stop=stop).run()
    if not done:
        _note("told to stop: what was trained here waits, to go on elsewhere")
    return 0 if done else PREEMPTED


def _shown(question: Question, settings: WorkerSettings) -> AbstractContextManager[Callable[[Event], None]]:
    from tunemax.search.views.live.progress import Progress
    from tunemax.search.views.live.screen import on_screen

    return on_screen(question, Progress.of(question), settings)


def _note(line: str) -> None:
    print(f"tunemax: {line}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _told_by_signals(stop: threading.Event) -> Iterator[None]:
    """In this block a signal asks the worker to end, and does nothing else."""
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
