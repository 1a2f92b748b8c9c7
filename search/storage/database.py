"""Where studies live: Optuna's relational storage, made safe on SQLite, its errors told in one line.

Studies lie in a SQLite file or on any server that SQLAlchemy knows. On SQLite four things are needed before many
processes may share a file (measured, see `SqliteStorage`): the write-ahead log, a timeout, synchronous = NORMAL and
BEGIN IMMEDIATE.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from tunemax.gpt.errors import TunemaxError, did_you_mean

TIMEOUT = 60.0
"""Seconds that a process waits for another one's write on SQLite, unless the URL says ``?timeout=``."""

_SCHEMES = ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql")


class SqliteStorage(optuna.storages.RDBStorage):
    """Optuna's storage in one SQLite file that many processes may share.

    SQLite ignores SELECT … FOR UPDATE, so two workers could take one waiting trial. BEGIN IMMEDIATE takes the write
    lock before the read, which closes that gap; it needs sqlite3's own transactions off. synchronous = NORMAL is safe
    with the write-ahead log, and several times faster; it belongs to the connection, not to the file.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, skip_compatibility_check=True, skip_table_creation=True)
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
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        self.engine.dispose()  # connections that are open already have not heard of this


def open_storage(where: str | Path, *, create: bool) -> optuna.storages.RDBStorage:
    """Open the storage at a path (SQLite) or an SQLAlchemy URL.

    create: make the file, and Optuna's tables, if they are missing; else that is an error (a mistyped path would
    otherwise become an empty database). Quiets Optuna's INFO lines about storages, and only those. Raises TunemaxError.
    """
    logging.getLogger("optuna.storages").setLevel(logging.WARNING)
    url = storage_url(where)
    with storage_errors(url, ImportError, OSError):
        if url.get_backend_name() == "sqlite":
            _prepare_file(url, create)
            storage: optuna.storages.RDBStorage = SqliteStorage(_for_optuna(url))
        else:
            storage = optuna.storages.RDBStorage(
                _for_optuna(url),
                # A server drops connections in the night, and those of a laptop that sleeps: look before one is used
                engine_kwargs={"pool_pre_ping": True},
                skip_compatibility_check=True,
                skip_table_creation=not create,
            )
        _check_schema(storage)
        return storage


def uncached(storage: optuna.storages.BaseStorage) -> optuna.storages.RDBStorage:
    """A storage without Optuna's cache, or ours, around it."""
    backend = getattr(storage, "_backend", storage)
    assert isinstance(backend, optuna.storages.RDBStorage)
    return backend


def study_names(storage: optuna.storages.BaseStorage) -> list[str]:
    """The names of all studies, oldest first."""
    return optuna.get_all_study_names(storage)


def study_id(storage: optuna.storages.BaseStorage, name: str) -> int:
    """The key by which the storage knows a study. Raises TunemaxError for an unknown name."""
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
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
    found = [Stored(study._study_id, study.study_name, study.user_attrs) for study in storage.get_all_studies()]
    return sorted(found, key=lambda study: study.key)


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
        line = f"{shown(given)}: {_explain(error, given)}"
        for secret in (given.password, given.query.get("password")):
            line = line.replace(str(secret), "***") if secret else line
        raise TunemaxError(line) from error


def shown(url: str | URL) -> str:
    """A storage as messages name it: the path of a SQLite file, else the URL without password and options."""
    given = make_url(url)
    if given.get_backend_name() == "sqlite" and given.database:
        return given.database
    return given.set(query={}).render_as_string(hide_password=True)


def storage_url(where: str | Path) -> URL:
    text = str(where)
    if "://" not in text:
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()), query={"timeout": f"{TIMEOUT:g}"})
    scheme = text.split("://")[0]
    try:
        url = make_url(text)
        url.get_dialect()  # an unknown scheme fails here, before anything else is tried
    except NoSuchModuleError:
        raise TunemaxError(f"storage {scheme}://…: no such kind of database{did_you_mean(scheme, _SCHEMES)}") from None
    except (ArgumentError, ValueError):
        form = "scheme://user:password@host:port/database"
        raise TunemaxError(f"storage {scheme}://…: not a URL of the form {form}") from None
    if url.get_backend_name() != "sqlite":
        return url
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise TunemaxError("storage sqlite: workers need a file they can share; give its path")
    path = str(Path(url.database).expanduser().absolute())
    return url.set(database=path).update_query_dict({"timeout": url.query.get("timeout", f"{TIMEOUT:g}")})


def _for_optuna(url: URL) -> str:
    # Optuna fills {SCHEMA_VERSION} into URLs; doubled braces stay what they are.
    return url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")


def _prepare_file(url: URL, create: bool) -> None:
    """Check the file of a SQLite URL, or make it, and see to its write-ahead log."""
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
    # Look at the file through SQLite only: to close it after a plain read would drop this process's locks on it
    # (POSIX), and the next connection to close would then tear the file under the others.
    timeout = float(str(url.query["timeout"]))
    with contextlib.closing(sqlite3.connect(path, timeout=timeout, isolation_level=None)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "version_info" not in tables:
            raise TunemaxError(f"{path}: a SQLite database of something else, without studies; name another file")
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            remedy = "use a local disk or a server"
            raise TunemaxError(f"{path}: SQLite cannot keep a write-ahead log here (a network folder?); {remedy}")


def _check_schema(storage: optuna.storages.RDBStorage) -> None:
    """Raise TunemaxError if the tables are not those of the Optuna that runs here: `tables` reads and writes them."""
    version = storage.get_current_version()
    if version == storage.get_head_version():
        return
    if version in storage.get_all_versions():
        remedy = "written by an older Optuna; back it up, then run `optuna storage upgrade --storage URL`"
    else:
        remedy = f"written by a newer Optuna than {optuna.__version__}; open it with a newer tunemax"
    raise TunemaxError(f"{shown(storage.url)}: {remedy}")


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
