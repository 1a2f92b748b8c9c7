"""Where a storage is, as people write it and as messages name it; what goes wrong in it, in one line."""

from __future__ import annotations

import contextlib
import math
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.paths import path_typed
from tunemax.search.storage.secrets import HIDDEN, is_token, redacted

PACKAGES = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "pymysql": "PyMySQL",
    "mysql": "mysql-connector-python",
    "cx_Oracle": "oracledb",
}
"""Modules of drivers whose packages are called otherwise."""
TIMEOUT = 60.0
"""Seconds that a process waits for another one's write on SQLite, unless the URL says ``?timeout=``."""

LONGEST = 1e6
"""SQLite counts its milliseconds in 32 bits."""
_SCHEMES = ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql")
_FORM = "scheme://user:password@host:port/database"
_NO_PATH = re.compile(rf"(?:{'|'.join(_SCHEMES)})[\w+]*:|[^/:]*:[^/@]*@")
"""Begins a URL that has lost its slashes, or its scheme."""


def storage_url(where: str | Path) -> URL:
    text = str(where)
    if "://" not in text:
        if _NO_PATH.match(text):  # it may hold a password
            raise TunemaxError(f"storage: neither a path nor a URL of the form {_FORM}")
        file = str(path_typed(text).absolute())
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
    path = str(path_typed(url.database).absolute())
    return url.set(database=path).update_query_dict({"timeout": _timeout(url)})


def _timeout(url: URL) -> str:
    """Seconds to wait for SQLite's lock, as a URL has them. Raises TunemaxError for what is no time."""
    text = str(url.query.get("timeout", f"{TIMEOUT:g}"))
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST:
        raise TunemaxError(f"storage sqlite: timeout = {text}: expected seconds from 0 to {LONGEST:g}")
    return text


def shown(url: str | URL) -> str:
    """A storage as messages name it: the path of a SQLite file, else the URL without its secrets and options."""
    given = make_url(url)
    if given.get_backend_name() == "sqlite" and given.database:
        return given.database
    if given.username and given.password is None and is_token(given.username):
        given = given.set(username=HIDDEN)
    return given.set(query={}).render_as_string(hide_password=True)


def for_optuna(url: URL) -> str:
    """A URL as Optuna takes it."""
    # Optuna fills {SCHEMA_VERSION} into URLs; doubled braces stay what they are.
    return url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")


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


def fault_of(url: str | URL, error: Exception) -> str:
    """What has gone wrong, in the line of `storage_errors`."""
    try:
        with storage_errors(url):
            raise error
    except TunemaxError as told:
        return str(told)


def _explain(error: BaseException, url: URL) -> str:
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    if isinstance(cause, ImportError):
        package = PACKAGES.get(module := cause.name or url.get_driver_name(), module)
        remedy = "install it, or a driver that we know: `pip install 'tunemax[postgres]'` is for postgresql+psycopg://"
        remedy += ", `pip install 'tunemax[mysql]'` for mysql+pymysql://"
        return f"needs the Python package {package}; {remedy}"
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
