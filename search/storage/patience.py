"""A storage that is out of reach for a while, since its server is started again: whoever works on it waits for it.

What fails is done again as a whole: a method of the storage, or a transaction of ours. Whether a transaction that was
cut off at its end has happened nobody knows, so each of them does nothing the second time.
"""

from __future__ import annotations

import math
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from tunemax.gpt.errors import TunemaxError

T = TypeVar("T")
LONG = 300.0
"""Seconds for which a run waits: a server is started again within a minute, and its machine within a few."""
FIRST, LONGEST = 0.5, 10.0
"""Seconds of the first pause between two attempts, after which each is twice as long, and of the longest."""


class StorageLost(TunemaxError):
    """The storage cannot be worked on any more. What is trained lives on in its snapshots alone."""


def _print(line: str, _over: bool) -> None:
    print(f"tunemax: {line}", file=sys.stderr, flush=True)


@dataclass
class Patience:
    """How long to wait for a storage that is out of reach, and how.

    Args:
        limit: seconds, counted from when it was found so; 0: it is not waited for.
        pause: waits for so many seconds; true: whoever waits is to stop.
        tell: told in one line that it is waited for, and once more when that is over.
    """

    limit: float = 0.0
    pause: Callable[[float], object] = time.sleep
    tell: Callable[[str, bool], None] = _print
    _began: float | None = None
    """When it was found out of reach; None while it is in reach."""
    _failed: float = -math.inf
    """When it was last out of reach."""

    @property
    def heard(self) -> float:
        """Seconds for which it has been in reach, as far as one knows."""
        return time.monotonic() - self._failed

    def stop(self) -> None:
        """Wait no more."""
        self.pause = lambda _: True

    def __call__(self, work: Callable[[], T], explain: Callable[[Exception], str]) -> T:
        """What `work` returns, as soon as the storage is in reach.

        explain: says in one line what has happened. Raises what `work` does if that is of another kind, or the limit is
        0; else StorageLost when the time is over, or whoever waits is to stop.
        """
        wait = 0.0
        while True:
            try:
                result = work()
                break
            except (DBAPIError, StorageInternalError) as error:
                if not is_passing(error):
                    raise
                self._failed = time.monotonic()
                if not self.limit:
                    raise
                self._began = self._began or self._failed
                fault = explain(error)
                if self._failed - self._began > self.limit:
                    raise StorageLost(f"{fault}; it was waited for, {_minutes(self.limit)} long") from error
                if wait == FIRST:  # the second attempt has failed as well
                    self.tell(f"{fault}; waiting for it, {_minutes(self.limit)} at most", False)
                if self.pause(wait):
                    raise StorageLost(fault) from error
                wait = min(2 * wait or FIRST, LONGEST)
        self._began = None
        if wait > FIRST:
            self.tell("the storage answers again", True)
        return result


def is_passing(error: BaseException) -> bool:
    """Whether an error may be gone a moment later: a lost connection, or none to be had, or a lock of somebody else's.

    Of SQLite's only a lock is: its file is there, or is not.
    """
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, DBAPIError):
        return False
    if isinstance(cause.orig, sqlite3.Error):
        return isinstance(cause, OperationalError) and any(word in str(cause.orig) for word in ("locked", "busy"))
    return cause.connection_invalidated or isinstance(cause, (OperationalError, InterfaceError))


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} s"
