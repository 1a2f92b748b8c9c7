"""Where studies and their files lie. Every path that is made of a name is made here, and lies in the folder of runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tunemax.gpt.paths import Misnamed, inside, path_typed

STUDIES, HERE = Path("studies"), Path()
DATABASE = "tunemax.db"
"""Where studies lie unless --storage or TUNEMAX_STORAGE says otherwise: beside the study file, or here."""
ARTIFACTS, AGENTS = "artifacts", "rl"
TAKEN = (ARTIFACTS, AGENTS)
"""What lies beside the questions' folders in that of all runs; no new question is called so."""
TEXTS = ".texts"
"""Prepared tokens for other machines, by fingerprint: among the runs, and among the rows of the database."""
SNAPSHOT, LEARNABLES, WEIGHTS = "snapshot.safetensors", "learnables.jsonl", "weights.safetensors"
"""In a trial's folder, beside what its loggers write: what it goes on from, how its learnables moved so far, and what a
winner or a confirmed run is kept for."""
REPORT = "report"
"""In a question's folder."""
REPORTS = ("report.html", "report.md", "report.csv")


def default_storage(folder: Path | None = None) -> str:
    """The storage of a command that names none, and no question either: see `lookup` for those that do.

    folder: of the study file; None if there is none: then the first of `databases`, and before there is one that in
    `studies/` if there is such a folder.
    """
    if named := os.environ.get("TUNEMAX_STORAGE"):
        return named
    if folder is None:
        return next(iter(databases()), str((STUDIES if STUDIES.is_dir() else HERE) / DATABASE))
    return str(folder / DATABASE)


def databases() -> list[str]:
    """The storages that are there where none is named, in the order in which they are looked in."""
    if named := os.environ.get("TUNEMAX_STORAGE"):
        return [named]
    return [str(folder / DATABASE) for folder in (STUDIES, HERE) if (folder / DATABASE).exists()]


def runs_folder(storage_url: str) -> Path:
    """The folder of all trials' files: TUNEMAX_RUNS, else beside a SQLite file, else `studies/runs/` here.

    It is `runs/` for tunemax.db and `other.runs/` for other.db, so that databases in one folder do not share it.
    """
    if named := os.environ.get("TUNEMAX_RUNS"):
        return path_typed(named)
    from sqlalchemy.engine import make_url  # not above: who asks for help needs no database

    url = make_url(storage_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return STUDIES / "runs"
    file = Path(url.database)
    return file.with_name("runs" if file.name == DATABASE else f"{file.stem}.runs")


def study_folder(storage_url: str, study: str) -> Path:
    """The folder of a study's trials, or of a question: `runs/question/candidate`; or what lies in one, by its name.

    Raises TunemaxError, as everything here does, for a name that would lead out of the folder of runs: it may come from
    somebody else's database.
    """
    return inside(runs_folder(storage_url), study)


def trial_folder(storage_url: str, study: str, number: int) -> Path:
    """The folder of one trial: `runs/question/candidate/00007`. It is made by whoever first writes into it."""
    return inside(runs_folder(storage_url), study, f"{number:05}")


def trial_file(storage_url: str, study: str, number: int, name: str) -> Path:
    """A file in it that we write, and remove."""
    return inside(runs_folder(storage_url), study, f"{number:05}", name)


def trial_folders(storage_url: str, study: str) -> list[Path]:
    """The folders of a study's trials that are there, also of trials that are not in the storage any more."""
    there = study_folder(storage_url, study).glob("[0-9]*")
    return sorted(path for path in there if path.name.isdecimal() and path.is_dir() and not path.is_symlink())


def report_folder(storage_url: str, question: str) -> Path:
    """Where a question's report is written unless `--out` says otherwise."""
    return inside(runs_folder(storage_url), question, REPORT)


def check_names(storage_url: str, question: str, studies: Iterable[str]) -> None:
    """Raise Misnamed unless the studies of a question have folders in that of the question, or are the question."""
    folder = study_folder(storage_url, question)
    for study in studies:
        if study != question and study_folder(storage_url, study).parent != folder:
            raise Misnamed(f"{study}: names no folder in {folder}")
