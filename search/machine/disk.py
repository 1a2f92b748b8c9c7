"""What tunemax keeps on the disk beside databases, where it lies, and how it is freed."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tunemax.gpt.compile.library import cache_folder
from tunemax.gpt.data import data_root
from tunemax.gpt.data.manifest import DOCUMENTS, MANIFEST, TOKENS, is_prepared
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import PARTIAL, forget
from tunemax.gpt.loggers import LOGGERS
from tunemax.gpt.paths import KEPT
from tunemax.search.storage.database import open_storage, study_names
from tunemax.search.storage.paths import (
    LEARNABLES,
    REPORTS,
    SNAPSHOT,
    TAKEN,
    WEIGHTS,
    report_folder,
    runs_folder,
    study_folder,
    trial_folders,
)
from tunemax.search.storage.rows import remove, sizes
from tunemax.search.storage.urls import shown

KINDS = {
    "data": "prepared texts; made again when they are needed",
    "compiled": "functions of models; made again when they are needed, in half a minute or more each",
    "weights": "final weights of each candidate's best trial and of confirmed runs; gone for good",
    "rows": "snapshots, weights and artifacts of machines that share no folder; a run brings home what stays",
    "runs": "files of questions that are not in the database beside them, maybe deleted; gone for good",
}
FUNCTION = re.compile(r"[0-9a-f]{32}\.(so|lock)")
"""The name of a compiled function, and of its lock."""


@dataclass(frozen=True)
class Kept:
    """Something that can be freed."""

    kind: str
    name: str
    folder: Path | str
    """Where it lies; of rows the database."""
    size: int
    """Bytes."""
    free: Callable[[], int]
    """Frees it; returns the bytes that were freed."""


def kept(databases: Sequence[str]) -> list[Kept]:
    """All that can be freed, the largest first. databases: whose runs are looked at."""
    found = [*_data(), *_compiled()]
    for database in databases:
        found += [*_weights(database), *_rows(database), *_runs(database)]
    return sorted(found, key=lambda each: (-each.size, each.name))


def _data() -> Iterator[Kept]:
    root = data_root()
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if is_prepared(folder) and not folder.is_symlink():
            free = partial(forget, folder, (TOKENS, DOCUMENTS, MANIFEST))
            yield Kept("data", folder.name, folder, _size([folder]), free)


def _compiled() -> Iterator[Kept]:
    folder = cache_folder()
    functions = [path.name for path in folder.glob("*") if FUNCTION.fullmatch(path.name)] if folder.is_dir() else []
    if functions:
        size = sum((folder / name).lstat().st_size for name in functions)
        count = sum(name.endswith(".so") for name in functions)
        yield Kept("compiled", f"{count} functions", folder, size, partial(forget, folder, functions))


def _weights(database: str) -> Iterator[Kept]:
    """What trials of each question have kept, without which they write no text and cannot be trained on."""
    storage = open_storage(database, create=False)
    by_question: dict[str, list[Path]] = {}
    for study in study_names(storage):
        with contextlib.suppress(TunemaxError):  # a name of somebody else, which leads out of the runs
            folders = by_question.setdefault(study.partition("/")[0], [])
            folders += [folder for folder in trial_folders(str(storage.url), study) if _kept(folder)]
    for question, folders in by_question.items():
        if folders:
            size = sum(path.lstat().st_size for folder in folders for path in _kept(folder))
            place = study_folder(str(storage.url), question)
            yield Kept("weights", question, place, size, partial(_free_weights, folders))


def _rows(database: str) -> Iterator[Kept]:
    """What waits in the database for other machines, of each question."""
    storage = open_storage(database, create=False)
    by_question: dict[str, dict[str, int]] = {}
    for name, size in sizes(storage).items():
        by_question.setdefault(name.partition("/")[0], {})[name] = size
    for question, files in by_question.items():
        if size := sum(files.values()):
            yield Kept("rows", question, shown(storage.url), size, partial(remove, storage, list(files)))


def _free_weights(folders: Sequence[Path]) -> int:
    return sum(forget(folder, (WEIGHTS, KEPT)) for folder in folders)


def _kept(folder: Path) -> list[Path]:
    return [path for pattern in (WEIGHTS, KEPT) for path in folder.glob(pattern) if path.is_file()]


def _runs(database: str) -> Iterator[Kept]:
    """Folders of questions among the runs whose database does not know them. Another database may have them, if it was
    given the same folder. What ``tunemax train`` has trained lies there as well, and is nobody's but the user's."""
    from tunemax.gpt.record import CONFIG  # which loads torch

    storage = open_storage(database, create=False)
    url, known = str(storage.url), {name.partition("/")[0] for name in study_names(storage)}
    root = runs_folder(url)
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.name in known or folder.name in TAKEN or folder.is_symlink() or not folder.is_dir():
            continue
        if (folder / CONFIG).exists():
            continue
        yield Kept("runs", folder.name, folder, _size(_folders(url, folder)), partial(_free_runs, url, folder))


def _folders(url: str, question: Path) -> list[Path]:
    """The folders of a question's trials and of its report, from below."""
    studies = [question.name, *(f"{question.name}/{path.name}" for path in question.iterdir() if path.is_dir())]
    found = [folder for study in studies for folder in trial_folders(url, study)]
    return [*found, report_folder(url, question.name), *(study_folder(url, study) for study in reversed(studies))]


def _free_runs(url: str, question: Path) -> int:
    """Remove what tunemax has made there; what else lies there stays."""
    logged = (pattern for kind in LOGGERS for pattern in kind.files)
    ours = (SNAPSHOT, LEARNABLES, WEIGHTS, KEPT, *REPORTS, PARTIAL + "*", *logged)
    return sum(forget(folder, ours) for folder in _folders(url, question))


def _size(folders: Sequence[Path]) -> int:
    """Bytes of the files that lie in these folders, not deeper."""
    files = (entry for folder in folders if folder.is_dir() for entry in os.scandir(folder))
    return sum(entry.stat(follow_symlinks=False).st_size for entry in files if entry.is_file(follow_symlinks=False))


def chosen(found: Sequence[Kept], kind: str, names: Sequence[str]) -> list[Kept]:
    """Those of a kind that are named; all of them where none is. Raises TunemaxError for a name that is not there."""
    of_kind = [each for each in found if each.kind == kind]
    if unknown := [name for name in names if name not in {each.name for each in of_kind}]:
        raise TunemaxError(f"{unknown[0]}: no {kind} of that name can be freed; see what can with tunemax clean")
    return [each for each in of_kind if not names or each.name in names]
