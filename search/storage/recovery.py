"""Trials whose worker is gone: they go back among the waiting ones."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping

import psutil
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from tunemax.gpt.errors import TunemaxError
from tunemax.search.storage.database import is_read_only, storage_errors
from tunemax.search.storage.ownership import OwnedTrial, owned_trials, release
from tunemax.search.storage.secrets import redacted

SAME = 5.0
"""Seconds by which a start time may move: it is counted from a boot time that follows the clock."""
GRACE = 120.0
"""Seconds of silence after which a worker on another machine is given up: it was killed, cut off or put to sleep."""


def reap(storage: RDBStorage, studies: Iterable[str], fates: Mapping[int, str] | None = None) -> int:
    """Take the running trials of dead workers from them, in these studies. Gives their number.

    fates: of processes of this machine that have just ended, what of. A process of this machine is dead when it is
    gone; a worker elsewhere when its heartbeat has stopped for GRACE seconds. If it only slept, it finds out when it
    wakes. Only trials with a worker's mark are taken: one that was asked with the stock command line may stay open for
    days.
    """
    count = 0
    if is_read_only(storage):  # it is looked at only, as it stands
        return count
    with storage_errors(storage.url):
        for trial in owned_trials(storage, studies):
            if reason := _fate(trial, fates or {}):
                count += release(storage, trial, trial.mark, reason) is not None
    return count


def mark() -> str:
    """This process, told apart from every other one, also from a later one with the same number."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.0f}"


def cause(fault: BaseException | None) -> str | None:
    """What a worker dies of; None if no trial is at fault: an interrupt, the storage, or what the user can mend."""
    if not isinstance(fault, Exception) or isinstance(fault, (TunemaxError, SQLAlchemyError, StorageInternalError)):
        return None
    return redacted(" ".join(f"{type(fault).__name__}: {fault}".split()))[:500]


def _fate(trial: OwnedTrial, fates: Mapping[int, str]) -> str | None:
    """What has become of the worker of a trial; None if it lives, as far as one can see from here."""
    host, _, process = trial.mark.partition(":")
    if host != socket.gethostname():
        return f"no heartbeat from {host} for {trial.silent:.0f} s" if trial.silent > GRACE else None
    number, _, started = process.partition(":")
    return fates.get(int(number), "its process was gone") if _is_dead(int(number), float(started)) else None


def _is_dead(number: int, started: float) -> bool:
    """Whether a process of this machine that began at this time no longer runs."""
    try:
        process = psutil.Process(number)
        return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - started) > SAME
    except psutil.NoSuchProcess:
        return True
