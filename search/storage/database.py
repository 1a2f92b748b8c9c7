"""Where studies live: a storage is looked at, and made if it is to be, and opened.

Studies lie in a SQLite file or on any server that SQLAlchemy knows. What cannot be written can be read all the same,
and what is not ours is left as it is.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sqlite3
import uuid
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import optuna
import optuna.storages._rdb
import sqlalchemy
from alembic.script import ScriptDirectory
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.search.storage import study_tables
from tunemax.search.storage.backends import PatientStorage, ReadOnlyStorage, SqliteStorage, connecting
from tunemax.search.storage.locks import locked
from tunemax.search.storage.patience import Patience
from tunemax.search.storage.silence import timeouts
from tunemax.search.storage.urls import fault_of, for_optuna, shown, storage_errors, storage_url

P = ParamSpec("P")
T = TypeVar("T")
_seen: set[URL] = set()
"""Databases of servers that this process has looked at."""


def open_storage(where: str | Path, *, create: bool, patience: Patience | None = None) -> PatientStorage:
    """Open the storage at a path (SQLite) or an SQLAlchemy URL.

    create: make the file, and Optuna's tables, if they are missing; else that is an error (a mistyped path would
    otherwise become an empty database). patience: of whoever works on it, which begins here; by default nothing is
    waited for. A SQLite file that cannot be written is opened to be read, unless it is to be created. Quiets Optuna's
    INFO lines about storages, and what SQLAlchemy's pool prints of connections that a server has ended. Raises
    TunemaxError, with nothing changed.
    """
    logging.getLogger("optuna.storages").setLevel(logging.WARNING)
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # with a traceback, though the next one will do
    url = storage_url(where)
    patience = patience or Patience()
    with storage_errors(url, ImportError, OSError, TypeError, ValueError):  # the latter two of a driver's options
        storage = patience(partial(_open, url, create), partial(fault_of, url))
    storage.patience = patience
    return storage


def _open(url: URL, create: bool) -> PatientStorage:
    if url.get_backend_name() == "sqlite":
        return _open_file(url, create)
    with contextlib.ExitStack() as alone:
        if create:
            alone.enter_context(locked(sqlalchemy.create_engine(url, connect_args=timeouts(url))))
        try:
            _look_at_server(url, create)
        except TunemaxError:
            if create:
                raise
            alone.enter_context(
                locked(sqlalchemy.create_engine(url, connect_args=timeouts(url)))
            )  # somebody may be making its tables just now
            _look_at_server(url, create)
        return PatientStorage(
            for_optuna(url),
            # Servers drop connections in the night, and those of a laptop that sleeps: look before one is used
            engine_kwargs={"pool_pre_ping": True, "connect_args": timeouts(url)},
            skip_compatibility_check=True,
            skip_table_creation=not create,
        )


def in_transaction(
    storage: optuna.storages.BaseStorage,
    work: Callable[Concatenate[Connection, P], T],
    *arguments: P.args,
    **more: P.kwargs,
) -> T:
    """What `work` returns, which gets a connection and the arguments. All that it writes is written, or nothing.

    It is done anew if the storage was out of reach meanwhile. Whether it has happened then nobody knows, so it must
    change nothing the second time, and return the same.
    """
    backend = uncached(storage)

    def once() -> T:
        with backend.engine.begin() as connection:
            return work(connection, *arguments, **more)

    return patiently(backend, once)


def patiently(storage: optuna.storages.BaseStorage, work: Callable[[], T]) -> T:
    """What `work` returns, which is done anew while the storage is out of reach, if whoever works on it has patience.

    Raises StorageLost if it stays so.
    """
    backend = uncached(storage)
    return backend.patiently(work) if isinstance(backend, PatientStorage) else work()


def transaction(
    work: Callable[Concatenate[Connection, P], T],
) -> Callable[Concatenate[optuna.storages.BaseStorage, P], T]:
    """The function that does this with the connection of a storage, in a transaction of its own: `in_transaction`."""

    @functools.wraps(work)
    def done(storage: optuna.storages.BaseStorage, /, *arguments: P.args, **more: P.kwargs) -> T:
        return in_transaction(storage, work, *arguments, **more)

    return done


def patience_of(storage: optuna.storages.BaseStorage) -> Patience:
    """Whoever works on a storage sets it; that of a storage which is not ours has none."""
    backend = uncached(storage)
    return backend.patience if isinstance(backend, PatientStorage) else Patience()


def is_read_only(storage: optuna.storages.BaseStorage) -> bool:
    return isinstance(uncached(storage), ReadOnlyStorage)


def check_writable(storage: optuna.storages.BaseStorage) -> None:
    """Raise TunemaxError for a database that can only be read: first of all in whatever changes one."""
    if is_read_only(storage):
        remedy = "mend the rights of the file and of its folder, or work on a copy"
        raise TunemaxError(f"{shown(uncached(storage).url)}: can be read here, and not written; {remedy}")


def uncached(storage: optuna.storages.BaseStorage) -> optuna.storages.RDBStorage:
    """A storage without Optuna's cache, or ours, around it."""
    backend = getattr(storage, "_backend", storage)
    assert isinstance(backend, optuna.storages.RDBStorage)
    return backend


def study_names(storage: optuna.storages.BaseStorage) -> list[str]:
    """The names of all studies, oldest first."""
    return in_transaction(storage, study_tables.names)  # Optuna's own call reads all that is written on them


def study_id(storage: optuna.storages.BaseStorage, name: str) -> int:
    """The key by which the storage knows a study. Raises TunemaxError for an unknown name."""
    try:
        name.encode()  # no database has a name that is no text
        return storage.get_study_id_from_name(name)
    except (KeyError, UnicodeEncodeError):
        known = study_names(storage)
        near = did_you_mean(name, known) if known else ", which has none"
        raise TunemaxError(f"study {name}: not in this storage{near}") from None


class Stored(NamedTuple):
    """A study as the storage knows it: without its trials."""

    key: int
    name: str
    attributes: Mapping[str, Any]


def stored(storage: optuna.storages.BaseStorage) -> list[Stored]:
    """All studies, oldest first."""
    return [Stored(*study) for study in in_transaction(storage, study_tables.described)]


def _open_file(url: URL, create: bool) -> PatientStorage:
    """Check the file of a SQLite URL, or make it; see to its write-ahead log, or leave it alone if it is read-only."""
    path = Path(str(url.database))
    if not create and not path.parent.is_dir():
        raise TunemaxError(f"{path}: no such database; create a study first, or name another one with --storage")
    if not path.parent.is_dir():
        raise TunemaxError(f"{path}: its folder does not exist; make it with `mkdir -p {path.parent}`")
    if path.is_dir():
        raise TunemaxError(f"{path}: a folder; name a file in it, such as {path / 'studies.db'}")
    if path.is_symlink() and not os.path.exists(path):
        raise TunemaxError(f"{path}: a link that leads to no file; remove it, or name another file")
    if not path.exists():
        if not create:
            others = [other.name for other in path.parent.glob("*.db")]
            near = did_you_mean(path.name, others) if others else "; no *.db is in its folder"
            raise TunemaxError(f"{path}: no such database{near}")
        _make_file(path)
    there = path.resolve()  # where the log lies, too
    timeout = float(str(url.query["timeout"]))
    _look_at_file(there, timeout, str(path))
    if not (_may_write(there) and _may_write(there.parent)):
        storage = ReadOnlyStorage(for_optuna(url), there, timeout)
        if create:
            check_writable(storage)
        return storage
    with contextlib.closing(connecting(there, "mode=rw", timeout, isolation_level=None)()) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            remedy = "use a local disk or a server"
            raise TunemaxError(f"{path}: SQLite cannot keep a write-ahead log here (a network folder?); {remedy}")
    return SqliteStorage(for_optuna(url))


def _look_at_file(path: Path, timeout: float, name: str) -> None:
    """Raise TunemaxError or a database's error for a file that is no database of ours, without a trace in its folder.

    Through SQLite only: to close the file after a plain read would drop this process's locks on it (POSIX), and the
    next connection to close would then tear the file under the others.
    """
    try:
        _look(connecting(path, "immutable=1", timeout), name)
    except (TunemaxError, SQLAlchemyError):
        # Somebody may be writing it just now. Then there is a log, and its index, which a second look may use.
        if not all(path.with_name(path.name + end).exists() for end in ("-wal", "-shm")):
            raise
        _look(connecting(path, "mode=ro", timeout), name)


def _look(connect: Callable[[], sqlite3.Connection], name: str) -> None:
    engine = sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=NullPool)
    with engine.connect() as connection:
        if not _has_studies(connection):
            raise TunemaxError(f"{name}: a SQLite database of something else, without studies; name another file")
        _check_schema(connection, name)


def _look_at_server(url: URL, create: bool) -> None:
    """Raise TunemaxError if a server's database holds no studies and is not to, or such as this Optuna cannot read:
    Optuna itself would complete the tables first."""
    if url in _seen:
        return
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args=timeouts(url))
    with engine.connect() as connection:
        if _has_studies(connection):
            _check_schema(connection, shown(url), "` with OPTUNA_STORAGE set")
            _seen.add(url)
        elif not create:
            raise TunemaxError(f"{shown(url)}: holds no studies yet; create one first")


def _has_studies(connection: Connection) -> bool:
    return "version_info" in sqlalchemy.inspect(connection).get_table_names()


def _check_schema(connection: Connection, name: str, where: str = " --storage URL`") -> None:
    """Raise TunemaxError if the tables are not those of the Optuna that runs here: `tables` reads and writes them.

    where: how the command that upgrades them is told the storage.
    """
    dated = "alembic_version" in sqlalchemy.inspect(connection).get_table_names()
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() if dated else None
    head, known = _versions()
    if found == head:
        return
    if found is None or found in known:
        remedy = f"written by an older Optuna; back it up, then run `optuna storage upgrade{where}"
    else:
        remedy = f"written by a newer Optuna than {optuna.__version__}; open it with a newer tunemax"
    raise TunemaxError(f"{name}: {remedy}")


@cache
def _versions() -> tuple[str | None, frozenset[str]]:
    """The version of the tables that this Optuna has, and those from which it can upgrade."""
    scripts = ScriptDirectory(str(Path(str(optuna.storages._rdb.__file__)).with_name("alembic")))
    return scripts.get_current_head(), frozenset(script.revision for script in scripts.walk_revisions())


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _make_file(path: Path) -> None:
    """Make a database with Optuna's tables under a draft's name, then name it, unless somebody was faster."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        storage = optuna.storages.RDBStorage(for_optuna(URL.create("sqlite", database=str(draft))))
        storage.engine.dispose()
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
