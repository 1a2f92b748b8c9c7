"""Where studies live: Optuna's relational storage, made safe on SQLite, its errors told in one line.

Studies lie in a SQLite file or on any server that SQLAlchemy knows. On SQLite four things are needed before many
processes may share a file (measured, see `SqliteStorage`): the write-ahead log, a timeout, synchronous = NORMAL and
BEGIN IMMEDIATE.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.search.storage.paths import runs_folder
from tunemax.search.storage.patience import Patience, StorageLost

P = ParamSpec("P")
T = TypeVar("T")
TIMEOUT = 60.0
"""Seconds that a process waits for another one's write on SQLite, unless the URL says ``?timeout=``."""

_SCHEMES = ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql")


class PatientStorage(optuna.storages.RDBStorage):
    """Optuna's storage, of which each call is made anew while it is out of reach, if it has the patience."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.patience = Patience()
        super().__init__(*arguments, **more)

    def patiently(self, work: Callable[[], T]) -> T:
        """What `work` returns. Raises StorageLost if the storage stays out of reach."""
        return self.patience(work, partial(_explained, self.url))


def _patient(name: str) -> Callable[..., Any]:
    method = getattr(optuna.storages.RDBStorage, name)

    @functools.wraps(method)
    def call(self: PatientStorage, *arguments: Any, **more: Any) -> Any:
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

    _opened: tuple[int, int] | None = None
    """Device and inode of the file."""

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
            self._opened = self._opened or _identity(self._path)

        @sqlalchemy.event.listens_for(self.engine, "do_connect")
        def about_to_connect(*_: object) -> None:
            if self._opened:
                self._check_file()  # SQLite would make a file that is gone

        @sqlalchemy.event.listens_for(self.engine, "begin")
        def begin(connection: sqlalchemy.Connection) -> None:
            self._check_file()
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        self.engine.dispose()  # connections that are open already have not heard of this

    @property
    def _path(self) -> str:
        return str(self.engine.url.database)

    def _check_file(self) -> None:
        if (now := _identity(self._path)) != self._opened:
            what = "is another file than when it was opened" if now else "was removed while it was worked on"
            left = f"snapshots of what was trained lie in {runs_folder(self.url)}"
            raise StorageLost(f"{self._path}: {what}; put the right one back, and run again: {left}")


def open_storage(where: str | Path, *, create: bool, patience: Patience | None = None) -> PatientStorage:
    """Open the storage at a path (SQLite) or an SQLAlchemy URL.

    create: make the file, and Optuna's tables, if they are missing; else that is an error (a mistyped path would
    otherwise become an empty database). patience: of whoever works on it, which begins here; by default nothing is
    waited for. Quiets Optuna's INFO lines about storages, and only those. Raises TunemaxError.
    """
    logging.getLogger("optuna.storages").setLevel(logging.WARNING)
    url = storage_url(where)
    patience = patience or Patience()
    with storage_errors(url, ImportError, OSError):
        storage = patience(partial(_open, url, create), partial(_explained, url))
    storage.patience = patience
    return storage


def _open(url: URL, create: bool) -> PatientStorage:
    if url.get_backend_name() == "sqlite":
        _prepare_file(url, create)
        storage: PatientStorage = SqliteStorage(_for_optuna(url))
    else:
        storage = PatientStorage(
            _for_optuna(url),
            # A server drops connections in the night, and those of a laptop that sleeps: look before one is used
            engine_kwargs={"pool_pre_ping": True},
            skip_compatibility_check=True,
            skip_table_creation=not create,
        )
    _check_schema(storage)
    return storage


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

    return backend.patiently(once) if isinstance(backend, PatientStorage) else once()


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


def _explained(url: str | URL, error: Exception) -> str:
    """What has gone wrong, in the line of `storage_errors`."""
    try:
        with storage_errors(url):
            raise error
    except TunemaxError as explained:
        return str(explained)


def _identity(path: str) -> tuple[int, int] | None:
    """Device and inode of a file; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


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
