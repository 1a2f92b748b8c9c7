"""Waiting for what other processes do, and stopping them at a known moment: by events, so that a slow or busy machine
only takes longer."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable

from tunemax.search.storage.ownership import owned_trials
from tunemax.search.storage.questions import Question

PATIENCE = 300.0
"""Seconds after which something will not happen any more. An idle machine needs one or two of them."""
ANNOUNCED = [
    sys.executable,
    "-c",
    "import sys\n"
    "from tunemax.search.workers.crew import Crew\n"
    "from tunemax.search.cli import main\n"
    "stop = Crew.stop\n"
    "def told(crew):\n"
    "    stop(crew)\n"
    "    print('the workers are told to stop', flush=True)\n"
    "Crew.stop = told\n"
    "sys.exit(main())",
]
"""The command line of tunemax, but a run says when it has passed Ctrl-C on to its workers."""


def until(reached: Callable[[], object], pause: float = 0.05) -> None:
    """Look again and again, `pause` seconds apart, until it is so. Raises AssertionError if it never is."""
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end, f"not seen in {PATIENCE:.0f} s"
        time.sleep(pause)


def stop(process: int, where: str) -> None:
    """Stop a process at a moment when it does not hold the database, which would stop everybody else."""

    def stopped() -> bool:
        os.kill(process, signal.SIGSTOP)
        with contextlib.closing(sqlite3.connect(where, timeout=0.2, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return True
            except sqlite3.OperationalError:
                os.kill(process, signal.SIGCONT)
                return False

    until(stopped, 0.01)


def at_work(question: Question) -> set[int]:
    """The processes that train a trial of the question now, also those that are stopped."""
    return {int(trial.mark.split(":")[1]) for trial in owned_trials(question.storage, question.siblings)}


def stop_worker(question: Question, when: Callable[[], object]) -> int:
    """Stop the only worker of a question, training a trial, at a moment when something is so; returns the process.

    It gets some milliseconds between two looks, and none while one looks: it cannot run past the moment.
    """
    database, found = str(question.storage.engine.url.database), 0

    def stopped() -> bool:
        nonlocal found
        for found in at_work(question):
            stop(found, database)
            if at_work(question) and when():
                return True
            os.kill(found, signal.SIGCONT)
        return False

    until(stopped)
    return found
