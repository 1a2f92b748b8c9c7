"""Trials whose worker is gone: they go back among the waiting ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from tunemax.gpt.errors import TunemaxError
from tunemax.search.storage import tables
from tunemax.search.storage.database import in_transaction, is_read_only, patience_of
from tunemax.search.storage.marks import Mark
from tunemax.search.storage.ownership import OwnedTrial, owned_trials, release
from tunemax.search.storage.paths import runs_folder
from tunemax.search.storage.patience import StorageLost
from tunemax.search.storage.secrets import redacted
from tunemax.search.storage.urls import shown, storage_errors

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
    if is_read_only(storage):  # it is looked at only, as it stands
        return count
    with storage_errors(storage.url):
        for trial in owned_trials(storage, studies):
            if reason := _fate(trial, fates or {}, patience_of(storage).heard):
                count += release(storage, trial, trial.mark, reason) is not None
    return count


REAPING = 30.0
"""Seconds between two looks for trials of dead workers, also of other machines, by whoever looks."""


class Witness:
    """Notices that a database has lost trials that had ended: it was removed, made anew, or restored from a copy."""

    def __init__(self, storage: RDBStorage, studies: Iterable[str]) -> None:
        self._storage, self._studies = storage, list(studies)
        self._ended = self._look()
        self._heard = Counter(self._ended)

    def saw(self, study: str) -> None:
        """One more trial of a study has ended."""
        self._heard[study] += 1

    def check(self) -> None:
        """Raise StorageLost if fewer trials of a study have ended than had before."""
        now = self._look()
        for study in self._heard:
            before = max(self._ended.get(study, 0), self._heard[study])
            if now.get(study, -1) < before:
                place, lost = shown(self._storage.url), before - now.get(study, 0)
                what = f"lost {lost} of {before} trials that had ended" if study in now else "gone"
                gone = f"{study} {'has' if study in now else 'is'} {what} (removed, or restored from a copy?)"
                left = f"snapshots of what was trained lie in {runs_folder(self._storage.url)}"
                raise StorageLost(f"{place}: {gone}; put the right database back, and run again: {left}")
        self._ended = now

    def _look(self) -> dict[str, int]:
        with storage_errors(self._storage.url):
            return in_transaction(self._storage, tables.ended, self._studies)


def cause(fault: BaseException | None) -> str | None:
    """What a worker dies of; None if no trial is at fault: an interrupt, the storage, or what the user can mend."""
    if not isinstance(fault, Exception) or isinstance(fault, (TunemaxError, SQLAlchemyError, StorageInternalError)):
        return None
    return redacted(" ".join(f"{type(fault).__name__}: {fault}".split()))[:500]


def _fate(trial: OwnedTrial, fates: Mapping[int, str], heard: float) -> str | None:
    """What has become of the worker of a trial; None if it lives, as far as one can see from here.

    heard: seconds for which its heartbeat could be heard: nobody's can while the storage is out of reach.
    """
    mark = Mark.read(trial.mark)
    lives = mark.lives if mark else None
    if mark and lives is False:
        return fates.get(mark.pid, "its process was gone")
    host, silent = trial.mark.partition(":")[0], min(trial.silent, heard)
    return f"no heartbeat from {host} for {trial.silent:.0f} s" if silent > GRACE and not lives else None
