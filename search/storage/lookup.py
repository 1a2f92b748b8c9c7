"""Which storage is meant where none is named: one rule for every command, and for Python.

TUNEMAX_STORAGE goes before all. Else the database of a study file lies beside it, that of a file that comes with
tunemax in the current folder; and the name of a question is looked up in `studies/`, then in the current folder.
"""

from __future__ import annotations

from pathlib import Path

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.packaged import packaged
from tunemax.search.storage.database import open_storage, study_names
from tunemax.search.storage.paths import HERE, databases, default_storage
from tunemax.search.storage.questions import as_written, questions


def storage_of_file(file: str | Path) -> str:
    """Of a study file, or of one that comes with tunemax by its name."""
    path = Path(file)
    return default_storage(HERE if str(file) in packaged() and not path.exists() else path.parent)


def storage_of(name: str) -> str:
    """The first one that has a question or a study of this name; that of a command without a name if none has."""
    places = databases()
    if len(places) == 1:
        return places[0]
    return next((place for place in places if _has(place, name)), default_storage())


def _has(place: str, name: str) -> bool:
    try:
        storage = open_storage(place, create=False)
        known = questions(storage)
        return as_written(name, known) in known or name in study_names(storage)
    except TunemaxError:  # whoever opens it says why not
        return False
