"""Whether machines share the folder of runs; what is not seen by all in it goes through the database.

The folder carries a mark, and a question knows that of whoever runs it: a path alone says nothing on another machine.
"""

from __future__ import annotations

import contextlib
import secrets

from tunemax.gpt.paths import inside
from tunemax.search.storage.attributes import FILES
from tunemax.search.storage.database import in_transaction, study_id
from tunemax.search.storage.paths import runs_folder
from tunemax.search.storage.questions import Question
from tunemax.search.storage.study_tables import written_on
from tunemax.search.storage.urls import storage_errors

MARK = ".tunemax-folder"
"""The file in a folder of runs that tells it apart from every other one."""


def offer(question: Question) -> None:
    """Write down that the files of a question's trials lie in this machine's folder of runs, if it can be marked."""
    mark = _mark(question, create=True)
    for name in question.siblings if mark else ():
        key = study_id(question.storage, name)
        if question.storage.get_study_user_attrs(key).get(FILES) != mark:
            question.storage.set_study_user_attr(key, FILES, mark)


def is_offered(question: Question) -> bool:
    """Whether somebody has said where the files of its trials lie."""
    return bool(_theirs(question))


def is_home(question: Question) -> bool:
    """Whether this machine's folder of runs is the one of whoever runs it."""
    return _mark(question, create=False) in _theirs(question)


def shares(question: Question) -> bool:
    """Whether what this machine writes into its folder of runs is seen by all who train the question.

    Nobody knows where nobody has run it yet; a SQLite file is on one machine, and so are those who work on it.
    """
    theirs = _theirs(question)
    if not theirs:
        return question.storage.engine.dialect.name == "sqlite"
    return _mark(question, create=False) in theirs


def apart(question: Question) -> str | None:
    """That this folder of runs is another one, and what follows, in one line; None if it is shared, or nobody knows."""
    if not is_offered(question) or is_home(question):
        return None
    here = f"{question.name}: {runs_folder(question.storage.url)} here is not the folder of runs of whoever runs it"
    then = "snapshots, weights and artifacts go through the database"
    return f"{here}: {then}; a shared folder, named with TUNEMAX_RUNS, is faster"


def _theirs(question: Question) -> set[str]:
    """The marks of the folders that were offered."""
    with storage_errors(question.storage.url):
        found = in_transaction(question.storage, written_on, list(question.siblings), FILES)
    return {mark for mark in found if isinstance(mark, str)}


def _mark(question: Question, *, create: bool) -> str | None:
    """That of this machine's folder of runs; None if it has none."""
    folder = runs_folder(question.storage.url)
    path = inside(folder, MARK)
    if create:
        with contextlib.suppress(OSError):  # whoever was first has chosen, or nothing can be written there
            folder.mkdir(parents=True, exist_ok=True)
            with path.open("x") as file:
                file.write(secrets.token_hex(16))
    try:
        return path.read_text() or None
    except (OSError, UnicodeDecodeError):
        return None
