"""Where studies and their files lie, and what to type to reach them."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

DATABASE = "tunemax.db"
"""Where studies lie unless --storage or TUNEMAX_STORAGE says otherwise: beside the study file, or in studies/."""


def default_storage(folder: Path = Path("studies")) -> str:
    return os.environ.get("TUNEMAX_STORAGE") or str(folder / DATABASE)


def typed(storage_url: str, *words: str) -> str:
    """A tunemax command as one types it here: with the storage if it is a file that is not the default; a URL may hold
    a password."""
    url = _read(storage_url)
    file = url.database if url.get_backend_name() == "sqlite" else None
    elsewhere = file is not None and Path(file) != Path(default_storage()).absolute()
    return shlex.join(["tunemax", *words, *(["--storage", str(file)] if elsewhere else [])])


def runs_folder(storage_url: str) -> Path:
    """The folder of all trials' files: TUNEMAX_RUNS, else beside a SQLite file, else `studies/runs/` here.

    It is `runs/` for tunemax.db and `other.runs/` for other.db, so that databases in one folder do not share it.
    """
    if named := os.environ.get("TUNEMAX_RUNS"):
        return Path(named)
    url = _read(storage_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return Path("studies") / "runs"
    file = Path(url.database)
    return file.with_name("runs" if file.name == DATABASE else f"{file.stem}.runs")


def trial_folder(storage_url: str, study: str, number: int) -> Path:
    """The folder of one trial: `runs/question/candidate/00007`. It is made by whoever first writes into it."""
    return runs_folder(storage_url) / study / f"{number:05}"


def _read(storage_url: str) -> URL:
    from sqlalchemy.engine import make_url  # not above: who asks for help needs no database

    return make_url(storage_url)
