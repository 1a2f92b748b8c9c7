"""Trials whose worker is gone: they go back among the waiting ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from tunemax.gpt.errors import TunemaxError
from tunemax.search.storage.database import storage_errors
from tunemax.search.storage.marks import Mark
from tunemax.search.storage.ownership import OwnedTrial, owned_trials, release

GRACE = 120.0
"""Seconds of silence after which a worker that cannot be seen from here is given up: it was killed, cut off or put to
sleep. It has then missed five heartbeats, and may have waited for a lock of SQLite's for a minute."""


def reap(storage: RDBStorage, studies: Iterable[str], fates: Mapping[int, str] | None = None) -> int:
    """Take the running trials of dead workers from them, in these studies. Gives their number.

    fates: of processes of this machine that have just ended, what of. A process that can be seen from here (of this
    machine since it was started, and not of another container) is dead at once when it is gone. Any other one lives
    as long as its heartbeats come, by the database's clock, and is dead when none has come for GRACE seconds; if it
    only slept, it finds out when it wakes. That goes for the workers of this machine from before it was restarted,
    too: a name alone does not say that it is the same machine. So their trials wait again within GRACE seconds of the
    crash, or at the next look after that. Only trials with a worker's mark are taken: one that was asked with the
    stock command line may stay open for days.
    """
    count = 0
    with storage_errors(storage.url):
        for trial in owned_trials(storage, studies):
            if reason := _fate(trial, fates or {}):
                count += release(storage, trial, trial.mark, reason) is not None
    return count


def cause(fault: BaseException | None) -> str | None:
    """What a worker dies of; None if no trial is at fault: an interrupt, the storage, or what the user can mend."""
    if not isinstance(fault, Exception) or isinstance(fault, (TunemaxError, SQLAlchemyError, StorageInternalError)):
        return None
    return " ".join(f"{type(fault).__name__}: {fault}".split())[:500]


def _fate(trial: OwnedTrial, fates: Mapping[int, str]) -> str | None:
    """What has become of the worker of a trial; None if it lives, as far as one can see from here."""
    mark = Mark.read(trial.mark)
    lives = mark.lives if mark else None
    if mark and lives is False:
        return fates.get(mark.pid, "its process was gone")
    if lives or trial.silent <= GRACE:
        return None
    since = f" for {trial.silent:.0f} s" if trial.silent < math.inf else ""
    return f"no heartbeat from {trial.mark.partition(':')[0]}{since}"
