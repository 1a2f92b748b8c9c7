"""Where the files of studies lie: beside the SQLite database, in `runs/`."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy.engine import make_url


def runs_folder(storage_url: str) -> Path:
    """The folder of all trials' files: TUNEMAX_RUNS, else `runs/` beside a SQLite file, else `studies/runs/` here."""
    if named := os.environ.get("TUNEMAX_RUNS"):
        return Path(named)
    url = make_url(storage_url)
    return (Path(url.database).parent if url.get_backend_name() == "sqlite" and url.database else Path("studies")) / "runs"


def trial_folder(storage_url: str, study: str, number: int) -> Path:
    """The folder of one trial: `runs/question/candidate/00007`. It is made by whoever first writes into it."""
    return runs_folder(storage_url) / study / f"{number:05}"
