"""Optuna's relational storage as it is used here: patient, safe on SQLite, and able to read what cannot be written."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import optuna
import sqlalchemy

from tunemax.search.storage.damage import reading
from tunemax.search.storage.paths import runs_folder
from tunemax.search.storage.patience import Patience, StorageLost
from tunemax.search.storage.urls import fault_of

T = TypeVar("T")


class PatientStorage(optuna.storages.RDBStorage):
    """Optuna's storage, of which each call is made anew while it is out of reach, if it has the patience."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.patience = Patience()
        super().__init__(*arguments, **more)

    def patiently(self, work: Callable[[], T]) -> T:
        """What `work` returns. Raises StorageLost if the storage stays out of reach."""
        return self.patience(work, partial(fault_of, self.url))


def _patient(name: str) -> Callable[..., Any]:
    method = getattr(optuna.storages.RDBStorage, name)

    @functools.wraps(method)
    def call(self: PatientStorage, *arguments: Any, **more: Any) -> Any:
        with reading("trials or studies", KeyError) if "get_" in name else contextlib.nullcontext():
            return self.patiently(partial(method, self, *arguments, **more))

    return call


_CALLS = optuna.storages.BaseStorage.__abstractmethods__ | {"_set_trial_param", "_create_new_trial", "_get_trials"}
"""What is called from outside, and from Optuna's cache, from which ours is made."""
for _name in _CALLS - {"create_new_study", "delete_study"}:  # which would fail the second time
    setattr(PatientStorage, _name, _patient(_name))


class SqliteStorage(PatientStorage):
    """Optuna's storage in one SQLite file that many processes may share.

    SQLite ignores SELECT … FOR UPDATE, so two workers could take one waiting trial. BEGIN IMMEDIATE takes the write
    lock before the read, which closes that gap; it needs sqlite3's own transactions off. synchronous = NORMAL is safe
    with the write-ahead log, and several times faster; it belongs to the connection, not to the file. A file that is
    removed or replaced meanwhile is written to no more, nor is the one in its place: StorageLost is raised.
    """

    BEGIN: ClassVar = "BEGIN IMMEDIATE"
    _opened: tuple[int, int] | None = None
    """Device and inode of the file."""

    def __init__(self, url: str, **engine: Any) -> None:
        super().__init__(url, engine, skip_compatibility_check=True, skip_table_creation=True)
        self._make_safe()

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self._make_safe()

    def _make_safe(self) -> None:
        # Not before here: while it checks its tables, Optuna opens a second transaction inside a first one.
        @sqlalchemy.event.listens_for(self.engine, "connect")
        def connect(connection: Any, _record: object) -> None:
            connection.isolation_level = None
            connection.execute("PRAGMA synchronous=NORMAL")
            self._opened = self._opened or _identity(self._path)

        @sqlalchemy.event.listens_for(self.engine, "do_connect")
        def about_to_connect(*_: object) -> None:
            if self._opened:
                self._check_file()  # SQLite would make a file that is gone

        @sqlalchemy.event.listens_for(self.engine, "begin")
        def begin(connection: sqlalchemy.Connection) -> None:
            self._check_file()
            connection.exec_driver_sql(self.BEGIN)

        self.engine.dispose()  # connections that are open already have not heard of this

    @property
    def _path(self) -> str:
        return str(self.engine.url.database)

    def _check_file(self) -> None:
        if (now := _identity(self._path)) != self._opened:
            what = "is another file than when it was opened" if now else "was removed while it was worked on"
            left = f"snapshots of what was trained lie in {runs_folder(self.url)}"
            raise StorageLost(f"{self._path}: {what}; put the right one back, and run again: {left}")


class ReadOnlyStorage(SqliteStorage):
    """The same in a file, or a folder, that this user cannot write."""

    BEGIN: ClassVar = "BEGIN"

    def __init__(self, url: str, path: Path, timeout: float) -> None:
        # SQLite wants to write beside a file with a write-ahead log even to read it, unless there is nothing in that
        # log, and nobody who could write to it.
        logged = path.with_name(f"{path.name}-wal")
        mode = "mode=ro" if logged.exists() and logged.stat().st_size else "immutable=1"
        super().__init__(url, creator=connecting(path, mode, timeout))


def connecting(path: Path, how: str, timeout: float, **options: Any) -> Callable[[], sqlite3.Connection]:
    """What opens a file in one of SQLite's ways, such as ``mode=ro``; it never makes the file."""
    uri = f"{path.as_uri()}?{how}"
    return partial(sqlite3.connect, uri, timeout=timeout, uri=True, check_same_thread=False, **options)


def _identity(path: str) -> tuple[int, int] | None:
    """Device and inode of a file; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
