"""Files as rows of the database, for machines that share nothing else: in parts, each known by the digest of the whole.

They lie in a table of ours beside Optuna's, which is made when a file is first put there; a database without it has
none. Optuna's own tools know nothing of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy
from optuna.storages import BaseStorage
from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, String, Table, Text, select
from sqlalchemy.dialects.mysql import LONGBLOB

from tunemax.gpt.errors import TunemaxError
from tunemax.search.storage.database import in_transaction, is_read_only, uncached
from tunemax.search.storage.locks import locked
from tunemax.search.storage.urls import storage_errors

P = ParamSpec("P")
T = TypeVar("T")
PART = 2 << 20
"""Bytes of a row's content: servers refuse statements of more than some megabytes."""
MOST = 512 << 20
"""Bytes of a file, above which it is refused."""
FILES = Table(
    "tunemax_files",
    MetaData(),
    Column("file", String(64), primary_key=True),  # sha256 of its name, which may be longer than a key
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("size", BigInteger, nullable=False),  # of the whole file, as the digest is
    Column("digest", String(64), nullable=False),
    Column("content", LargeBinary().with_variant(LONGBLOB, "mysql", "mariadb"), nullable=False),
)
"""A row a part; names are those of files in a folder of runs, such as ``q/softmax/00007/snapshot.safetensors``."""
_made: set[str] = set()
"""Databases that have the table: one that was made stays."""


def any_there(storage: BaseStorage) -> bool:
    """Whether the database has the table."""
    backend = uncached(storage)
    if backend.url not in _made and _done(storage, _has_table):
        _made.add(backend.url)
    return backend.url in _made


def put(storage: BaseStorage, name: str, content: bytes) -> None:
    """Write a file, whole or not at all, in place of one of this name.

    Raises TunemaxError for one that is too large, or that the database does not take.
    """
    if len(content) > MOST:
        raise TunemaxError(f"{name}: {len(content) / 1e6:,.0f} MB are too many for rows; share the folder of runs")
    if not any_there(storage):
        backend = uncached(storage)
        with storage_errors(backend.url), locked(backend.engine), backend.engine.begin() as connection:
            FILES.create(connection, checkfirst=True)  # two may need it at one moment
    _done(storage, _put, name, content)


def get(storage: BaseStorage, name: str) -> bytes | None:
    """A file; None if there is none. Raises TunemaxError if it is damaged."""
    return _done(storage, _get, name) if any_there(storage) else None


def size(storage: BaseStorage, name: str) -> int | None:
    """Bytes of a file; None if there is none."""
    return _done(storage, _size, name) if any_there(storage) else None


def remove(storage: BaseStorage, names: Collection[str]) -> int:
    """Remove files, as far as they are there. Returns the bytes freed."""
    return _done(storage, _remove, names) if names and not is_read_only(storage) and any_there(storage) else 0


def sizes(storage: BaseStorage, folder: str = "") -> dict[str, int]:
    """Name and bytes of each file; of those in a folder, such as ``q``, if one is given."""
    if not any_there(storage):
        return {}
    found = _done(storage, _sizes)
    return {name: size for name, size in found.items() if not folder or name.startswith(f"{folder}/")}


def _done(
    storage: BaseStorage, work: Callable[Concatenate[Connection, P], T], *arguments: P.args, **more: P.kwargs
) -> T:
    with storage_errors(uncached(storage).url):
        return in_transaction(storage, work, *arguments, **more)


def _has_table(connection: Connection) -> bool:
    return sqlalchemy.inspect(connection).has_table(FILES.name)


def _put(connection: Connection, name: str, content: bytes) -> None:
    key, digest = _key(name), hashlib.sha256(content).hexdigest()
    connection.execute(FILES.delete().where(FILES.c.file == key))
    whole = {"file": key, "name": name, "size": len(content), "digest": digest}
    for part, start in enumerate(range(0, max(len(content), 1), PART)):
        connection.execute(FILES.insert(), {**whole, "part": part, "content": content[start : start + PART]})


def _get(connection: Connection, name: str) -> bytes | None:
    columns = (FILES.c.size, FILES.c.digest, FILES.c.content)
    parts = connection.execute(select(*columns).where(FILES.c.file == _key(name)).order_by(FILES.c.part)).all()
    if not parts:
        return None
    content = b"".join(bytes(part.content) for part in parts)
    if len(content) != parts[0].size:
        raise TunemaxError(f"{name}: truncated in the database ({len(content):,} of {parts[0].size:,} bytes)")
    if hashlib.sha256(content).hexdigest() != parts[0].digest:
        raise TunemaxError(f"{name}: damaged in the database (its sha256 is another one)")
    return content


def _size(connection: Connection, name: str) -> int | None:
    sized = select(FILES.c.size).where(FILES.c.file == _key(name)).limit(1)
    return connection.execute(sized).scalar_one_or_none()


def _remove(connection: Connection, names: Collection[str]) -> int:
    keys = list(map(_key, names))
    freed = 0
    for some in (keys[index : index + 500] for index in range(0, len(keys), 500)):
        sized = select(FILES.c.size).where(FILES.c.file.in_(some), FILES.c.part == 0)
        freed += sum(connection.scalars(sized))
        connection.execute(FILES.delete().where(FILES.c.file.in_(some)))
    return freed


def _sizes(connection: Connection) -> dict[str, int]:
    found = connection.execute(select(FILES.c.name, FILES.c.size).where(FILES.c.part == 0))
    return {name: size for name, size in found}  # noqa: C416 - a row is no pair to mypy


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
