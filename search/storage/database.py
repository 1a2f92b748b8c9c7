"""Where studies live: Optuna's relational storage, made safe on SQLite, its errors told in one line.

Studies lie in a SQLite file or on any server that SQLAlchemy knows. On SQLite four things are needed before many
processes may share a file (measured, see `SqliteStorage`): the write-ahead log, a timeout, synchronous = NORMAL and
BEGIN IMMEDIATE. A database is looked at before anything is done to it: what is refused stays as it is, bit for bit, and
what cannot be written can be read.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import optuna
import optuna.storages._rdb
import sqlalchemy
from alembic.script import ScriptDirectory
from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.search.storage import study_tables
from tunemax.search.storage.locks import locked
from tunemax.search.storage.secrets import HIDDEN, is_token, redacted

TIMEOUT = 60.0
"""Seconds that a process waits for another one's write on SQLite, unless the URL says ``?timeout=``."""

_SCHEMES = ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql")
_FORM = "scheme://user:password@host:port/database"
_NO_PATH = re.compile(rf"(?:{'|'.join(_SCHEMES)})[\w+]*:|[^/:]*:[^/@]*@")
"""Begins a URL that has lost its slashes, or its scheme."""
_seen: set[URL] = set()
"""Databases of servers that this process has looked at."""


class SqliteStorage(optuna.storages.RDBStorage):
    """Optuna's storage in one SQLite file that many processes may share.

    SQLite ignores SELECT … FOR UPDATE, so two workers could take one waiting trial. BEGIN IMMEDIATE takes the write
    lock before the read, which closes that gap; it needs sqlite3's own transactions off. synchronous = NORMAL is safe
    with the write-ahead log, and several times faster; it belongs to the connection, not to the file.
    """

    BEGIN: ClassVar = "BEGIN IMMEDIATE"

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

        @sqlalchemy.event.listens_for(self.engine, "begin")
        def begin(connection: sqlalchemy.Connection) -> None:
            connection.exec_driver_sql(self.BEGIN)

        self.engine.dispose()  # connections that are open already have not heard of this


class ReadOnlyStorage(SqliteStorage):
    """The same in a file, or a folder, that this user cannot write."""

    BEGIN: ClassVar = "BEGIN"

    def __init__(self, url: str, path: Path, timeout: float) -> None:
        # SQLite wants to write beside a file with a write-ahead log even to read it, unless there is nothing in that
        # log, and nobody who could write to it.
        logged = path.with_name(f"{path.name}-wal")
        mode = "mode=ro" if logged.exists() and logged.stat().st_size else "immutable=1"
        super().__init__(url, creator=_connecting(path, mode, timeout))


def open_storage(where: str | Path, *, create: bool) -> optuna.storages.RDBStorage:
    """Open the storage at a path (SQLite) or an SQLAlchemy URL.

    create: make the file, and Optuna's tables, if they are missing; else that is an error (a mistyped path would
    otherwise become an empty database). A SQLite file that cannot be written is opened to be read, unless it is to be
    created. Quiets Optuna's INFO lines about storages, and only those. Raises TunemaxError, with nothing changed.
    """
    logging.getLogger("optuna.storages").setLevel(logging.WARNING)
    url = storage_url(where)
    with storage_errors(url, ImportError, OSError, TypeError, ValueError):  # the latter two of a driver's options
        if url.get_backend_name() == "sqlite":
            return _open_file(url, create)
        _look_at_server(url, create)
        with locked(sqlalchemy.create_engine(url)) if create else contextlib.nullcontext():
            return optuna.storages.RDBStorage(
                _for_optuna(url),
                # Servers drop connections in the night, and those of a laptop that sleeps: look before one is used
                engine_kwargs={"pool_pre_ping": True},
                skip_compatibility_check=True,
                skip_table_creation=not create,
            )


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
    with uncached(storage).engine.begin() as connection:  # Optuna's own call reads all that is written on them
        return study_tables.names(connection)


def study_id(storage: optuna.storages.BaseStorage, name: str) -> int:
    """The key by which the storage knows a study. Raises TunemaxError for an unknown name."""
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
        known = study_names(storage)
        near = did_you_mean(name, known) if known else ", which has none"
        raise TunemaxError(f"study {name}: not in this storage{near}") from None


@contextlib.contextmanager
def storage_errors(url: str | URL, *more: type[Exception]) -> Iterator[None]:
    """Turn what goes wrong in the storage into one TunemaxError line that never shows a password.

    url: the storage's (``storage.url``). more: kinds of error that mean the storage here, beside the database's own.
    """
    kinds: tuple[type[Exception], ...] = (SQLAlchemyError, StorageInternalError, sqlite3.Error, *more)
    try:
        yield
    except kinds as error:
        given = make_url(url)
        explained = redacted(_explain(error, given), [given.render_as_string(hide_password=False)])
        raise TunemaxError(f"{shown(given)}: {explained}") from error


def shown(url: str | URL) -> str:
    """A storage as messages name it: the path of a SQLite file, else the URL without its secrets and options."""
    given = make_url(url)
    if given.get_backend_name() == "sqlite" and given.database:
        return given.database
    if given.username and given.password is None and is_token(given.username):
        given = given.set(username=HIDDEN)
    return given.set(query={}).render_as_string(hide_password=True)


def storage_url(where: str | Path) -> URL:
    text = str(where)
    if "://" not in text:
        if _NO_PATH.match(text):  # it may hold a password
            raise TunemaxError(f"storage: neither a path nor a URL of the form {_FORM}")
        file = str(Path(os.path.expanduser(text)).absolute())
        return URL.create("sqlite", database=file, query={"timeout": f"{TIMEOUT:g}"})
    scheme = text.split("://")[0]
    try:
        url = make_url(text)
        url.get_dialect()  # an unknown scheme fails here, before anything else is tried
    except NoSuchModuleError:
        raise TunemaxError(f"storage {scheme}://…: no such kind of database{did_you_mean(scheme, _SCHEMES)}") from None
    except (ArgumentError, ValueError):
        raise TunemaxError(f"storage {scheme}://…: not a URL of the form {_FORM}") from None
    if url.get_backend_name() != "sqlite":
        return url
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise TunemaxError("storage sqlite: workers need a file they can share; give its path")
    path = str(Path(os.path.expanduser(url.database)).absolute())
    return url.set(database=path).update_query_dict({"timeout": url.query.get("timeout", f"{TIMEOUT:g}")})


def _for_optuna(url: URL) -> str:
    # Optuna fills {SCHEMA_VERSION} into URLs; doubled braces stay what they are.
    return url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")


def _open_file(url: URL, create: bool) -> optuna.storages.RDBStorage:
    """Check the file of a SQLite URL, or make it; see to its write-ahead log, or leave it alone if it is read-only."""
    path = Path(str(url.database))
    if not create and not path.parent.is_dir():
        raise TunemaxError(f"{path}: no such database; create a study first, or name another one with --storage")
    if not path.parent.is_dir():
        raise TunemaxError(f"{path}: its folder does not exist; make it with `mkdir -p {path.parent}`")
    if path.is_dir():
        raise TunemaxError(f"{path}: a folder; name a file in it, such as {path / 'studies.db'}")
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
        storage = ReadOnlyStorage(_for_optuna(url), there, timeout)
        if create:
            check_writable(storage)
        return storage
    with contextlib.closing(_connecting(there, "mode=rw", timeout, isolation_level=None)()) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            remedy = "use a local disk or a server"
            raise TunemaxError(f"{path}: SQLite cannot keep a write-ahead log here (a network folder?); {remedy}")
    return SqliteStorage(_for_optuna(url))


def _look_at_file(path: Path, timeout: float, name: str) -> None:
    """Raise TunemaxError or a database's error for a file that is no database of ours, without a trace in its folder.

    Through SQLite only: to close the file after a plain read would drop this process's locks on it (POSIX), and the
    next connection to close would then tear the file under the others.
    """
    try:
        _look(_connecting(path, "immutable=1", timeout), name)
    except (TunemaxError, SQLAlchemyError):
        # Somebody may be writing it just now. Then there is a log, and its index, which a second look may use.
        if not all(path.with_name(path.name + end).exists() for end in ("-wal", "-shm")):
            raise
        _look(_connecting(path, "mode=ro", timeout), name)


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
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
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


def _connecting(path: Path, how: str, timeout: float, **options: Any) -> Callable[[], sqlite3.Connection]:
    """What opens a file in one of SQLite's ways, such as ``mode=ro``; it never makes the file."""
    uri = f"{path.as_uri()}?{how}"
    return partial(sqlite3.connect, uri, timeout=timeout, uri=True, check_same_thread=False, **options)


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _make_file(path: Path) -> None:
    """Make a database with Optuna's tables under a draft's name, then name it, unless somebody was faster."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        storage = optuna.storages.RDBStorage(_for_optuna(URL.create("sqlite", database=str(draft))))
        storage.engine.dispose()
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _explain(error: BaseException, url: URL) -> str:
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    if isinstance(cause, ImportError):
        remedy = "install it, or name another driver, as in postgresql+psycopg://"
        return f"needs the Python package {cause.name or url.get_driver_name()}; {remedy}"
    text = str(getattr(cause, "orig", None) or cause).strip()
    first = text.splitlines()[0] if text else type(cause).__name__
    if url.get_backend_name() != "sqlite":
        if "version_info" in text:
            return "holds no studies yet; create one first"
        return f"the database server says: {first}; check host, port, user and password, and that it runs"
    if "is locked" in text or "is busy" in text:
        seconds = url.query.get("timeout", TIMEOUT)
        return f"locked by another process for longer than {seconds} s; wait for it or stop it"
    if "unable to open" in text or "readonly" in text or isinstance(cause, OSError):
        return f"cannot be read and written ({first}); check the rights of the file and of its folder"
    if "not a database" in text:
        return "not a SQLite database; name another file"
    return f"SQLite says: {first}; if the file is damaged, restore a copy or name another file"
