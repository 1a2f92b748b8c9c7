"""Whether machines share the folder of runs, without which none can go on from another one's snapshots.

The folder carries a mark, and a question knows that of whoever runs it: a path alone says nothing on another machine.
"""

from __future__ import annotations

import contextlib
import secrets

from tunemax.gpt.paths import inside
from tunemax.search.storage.attributes import FILES
from tunemax.search.storage.database import study_id
from tunemax.search.storage.paths import runs_folder
from tunemax.search.storage.questions import Question

MARK = ".tunemax-folder"
"""The file in a folder of runs that tells it apart from every other one."""


def offer(question: Question) -> None:
    """Write down that the files of a question's trials lie in this machine's folder of runs, if it can be marked."""
    mark = _mark(question, create=True)
    for name in question.siblings if mark else ():
        key = study_id(question.storage, name)
        if question.storage.get_study_user_attrs(key).get(FILES) != mark:
            question.storage.set_study_user_attr(key, FILES, mark)


def apart(question: Question) -> str | None:
    """Why what is trained here cannot go on elsewhere, in one line; None if the folder of runs is shared.

    Nothing is known of a question that nobody has run.
    """
    keys = (study_id(question.storage, name) for name in question.siblings)
    theirs = {question.storage.get_study_user_attrs(key).get(FILES) for key in keys} - {None}
    if not theirs or _mark(question, create=False) in theirs:
        return None
    here = f"{question.name}: {runs_folder(question.storage.url)} here is not the folder of runs of whoever runs it"
    then = "what is given back here is trained from its start elsewhere, and weights and artifacts stay here"
    return f"{here}: {then}; share one folder, and name it with TUNEMAX_RUNS"


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
