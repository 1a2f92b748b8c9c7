"""A sibling that other tools have renamed gets its name back."""

from __future__ import annotations

from optuna.storages import RDBStorage

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.search.storage import study_tables
from tunemax.search.storage.database import study_names
from tunemax.search.storage.layout import METRIC
from tunemax.search.storage.questions import alone, belongings, questions


def rename(storage: RDBStorage, study: str, name: str) -> None:
    """Give a study the name under which its question knows it. Raises TunemaxError for any other study or name."""
    with alone(storage):
        names = study_names(storage)
        if study not in names:
            raise TunemaxError(f"study {study}: not in this storage{did_you_mean(study, names)}")
        known = questions(storage)
        question = next((question for question, studies in known.items() if study in studies), None)
        renamed = belongings(storage, question, known[question]).renamed if question else {}
        proper = next((sibling for sibling, now in renamed.items() if now == study), None)
        if proper is None:
            raise TunemaxError(
                f"study {study}: no sibling of a question that other tools have renamed; it keeps its name"
            )
        if name != proper:
            raise TunemaxError(f"study {study}: {name} is not its name in the question {question}; that is {proper}")
        if name in names:
            raise TunemaxError(f"study {study}: {name} is the name of another study; rename or remove that first")
        with storage.engine.begin() as connection:
            row = study_tables.lock_studies(connection, [study])[study]
            study_tables.rename(connection, row.key, name)
            study_tables.name_metric(connection, row.key, METRIC)  # the dashboard's copy has none
