"""Where studies and their files lie."""

from __future__ import annotations

import os
from pathlib import Path

STUDIES, HERE = Path("studies"), Path()
DATABASE = "tunemax.db"
"""Where studies lie unless --storage or TUNEMAX_STORAGE says otherwise: beside the study file, or here."""


def default_storage(folder: Path | None = None) -> str:
    """The storage of a command that names none.

    folder: of the study file; None if there is none: then `studies/` or the current folder, whichever has a database,
    and before the first one `studies/` if there is such a folder.
    """
    if named := os.environ.get("TUNEMAX_STORAGE"):
        return named
    if folder is None:
        first = STUDIES if STUDIES.is_dir() else HERE
        folder = next((each for each in (STUDIES, HERE) if (each / DATABASE).exists()), first)
    return str(folder / DATABASE)


def runs_folder(storage_url: str) -> Path:
    """The folder of all trials' files: TUNEMAX_RUNS, else beside a SQLite file, else `studies/runs/` here.

    It is `runs/` for tunemax.db and `other.runs/` for other.db, so that databases in one folder do not share it.
    """
    if named := os.environ.get("TUNEMAX_RUNS"):
        return Path(named)
    from sqlalchemy.engine import make_url  # not above: who asks for help needs no database

    url = make_url(storage_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return STUDIES / "runs"
    file = Path(url.database)
    return file.with_name("runs" if file.name == DATABASE else f"{file.stem}.runs")


def trial_folder(storage_url: str, study: str, number: int) -> Path:
    """The folder of one trial: `runs/question/candidate/00007`. It is made by whoever first writes into it."""
    return runs_folder(storage_url) / study / f"{number:05}"
