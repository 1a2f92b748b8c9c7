"""One at a time on every kind of database: whoever creates, extends, confirms, repeats or deletes waits for the one
before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from optuna.storages._rdb.models import VersionInfoModel
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from tunemax.gpt import locks

KEY = int.from_bytes(b"tunemax", "big")
"""Of the lock, among those that other programs have in the same database."""
PATIENCE = 60
"""Seconds after which MySQL is asked again."""


@contextlib.contextmanager
def locked(engine: Engine) -> Iterator[None]:
    """Nobody else is in such a block of this database, which may have no tables yet.

    That of a SQLite file lies beside it, by whatever link it was opened. A lock goes with the process that holds it,
    however that ends: it is of an open file, or of a connection.
    """
    if engine.dialect.name == "sqlite":
        with locks.locked(Path(f"{os.path.realpath(str(engine.url.database))}.lock")):
            yield
        return
    with engine.connect() as connection:
        _lock(connection)
        try:
            yield
        finally:
            connection.invalidate()  # with every kind of lock, and also if the server has gone away


def _lock(connection: Connection) -> None:
    kind = connection.dialect.name
    if kind == "postgresql":
        # Of the transaction, not of the session: a pooler may give every transaction another session
        connection.execute(select(func.pg_advisory_xact_lock(KEY)))
    elif kind in ("mysql", "mariadb"):
        # Names are the whole server's, and short
        database = hashlib.sha256(str(connection.engine.url.database).encode()).hexdigest()
        while not connection.scalar(select(func.get_lock(f"tunemax:{database[:32]}", PATIENCE))):
            pass
    else:
        with contextlib.suppress(SQLAlchemyError):  # no tables yet
            connection.execute(select(VersionInfoModel.__table__).with_for_update())
