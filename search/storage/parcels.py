"""Prepared tokens in the database of a server, for machines whose own text is another one: see `texts`.

A SQLite file is on one machine, so nothing is put there: who has changed his text is to hear of it.
"""

from __future__ import annotations

import contextlib

from optuna.storages import RDBStorage

from tunemax.gpt.data import Corpus
from tunemax.gpt.data.parcel import pack
from tunemax.gpt.errors import TunemaxError
from tunemax.search.storage import rows
from tunemax.search.storage.paths import TEXTS

MOST = 64 << 20
"""Bytes of packed tokens in a database, at most: of some 160 MB of text. Of more it is only noted that they are
somewhere."""


def publish(storage: RDBStorage, corpus: Corpus) -> None:
    """Put the tokens of a text into the database of a server, unless they are there. It may refuse: then each machine
    needs the text itself."""
    if storage.engine.dialect.name != "sqlite":
        with contextlib.suppress(TunemaxError):
            put(storage, corpus)


def put(storage: RDBStorage, corpus: Corpus) -> None:
    """The same whatever the database is. Raises TunemaxError if it refuses."""
    name = row_of(corpus.manifest.fingerprint)
    if rows.size(storage, name) is None:
        parcel = pack(corpus)
        rows.put(storage, name, parcel if len(parcel) <= MOST else b"")


def row_of(fingerprint: str) -> str:
    """The name of a text's row; one that is empty stands for what is too large."""
    return f"{TEXTS}/{fingerprint}"
