"""The text of a question on machines that have another one: python_stdlib differs from one Python to the next.

Whoever creates a question in a database of a server puts its prepared tokens there, once for each text: see `parcels`.
A worker whose own text has another fingerprint takes them.
"""

from __future__ import annotations

from pathlib import Path

from tunemax.gpt.data import Corpus, data_root, load, open_data
from tunemax.gpt.data.parcel import prepared_as, unpack
from tunemax.gpt.errors import TunemaxError
from tunemax.search.storage import rows
from tunemax.search.storage.parcels import row_of
from tunemax.search.storage.paths import TEXTS, runs_folder
from tunemax.search.storage.questions import Question


def text_of(question: Question) -> Corpus:
    """The tokens of a question's text: its own text here, or what whoever has created it has put into the database.

    Raises TunemaxError if the text here is another one, or missing, and there is no way to the right one.
    """
    wanted, storage = str(question.definition.fingerprint), question.storage
    size = rows.size(storage, row_of(wanted))
    roots = (data_root(), runs_folder(storage.url) / TEXTS)
    if size is not None and (there := prepared_as(wanted, roots)):  # also where its own text takes a minute to prepare
        return load(there)
    try:
        corpus = open_data(question.definition.text, question.definition.fingerprint)
        question.check_data(corpus)
        return corpus
    except TunemaxError as error:
        if size is None:
            raise
        if not size:
            folder, places = f"*-{wanted[:12]}", f"{data_root()} or {roots[1]}"
            copy = f"copy the folder {folder} of the data of whoever has created the question into {places}"
            raise TunemaxError(f"{error}; its tokens are too many for the database: {copy}") from error
    return load(_fetched(question, wanted))


def _fetched(question: Question, fingerprint: str) -> Path:
    parcel = rows.get(question.storage, row_of(fingerprint))
    try:
        return unpack(parcel or b"", fingerprint, data_root())
    except TunemaxError as error:
        raise TunemaxError(f"{question.name}: the text in the database: {error}; give this machine the text") from error
    except OSError as error:
        remedy = "name another place with TUNEMAX_DATA"
        raise TunemaxError(f"{data_root()}: cannot be written ({error.strerror}); {remedy}") from error
