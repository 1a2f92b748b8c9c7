"""A question written into a storage: its studies, their definition and their waiting trials, all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy import Connection

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.counting import counted
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.suggest import known_points
from tunemax.search.storage import attributes, study_tables
from tunemax.search.storage.commands import stock
from tunemax.search.storage.database import in_transaction
from tunemax.search.storage.plugins import written
from tunemax.search.storage.queue import waiting
from tunemax.search.storage.study_tables import StudyRow

METRIC = "validation_loss"
LONGEST_TEXT = 65_535
"""Bytes of a text on MySQL and MariaDB."""


def write_question(storage: RDBStorage, definition: StudyDefinition) -> None:
    """Bring the storage's studies to a definition: missing siblings are made, missing trials enqueued. It is one
    transaction: whoever is cut short has written nothing.

    Raises TunemaxError, before anything is written, if the definition is beyond a limit, or the name of a sibling is
    that of a study that is none.
    """
    siblings = definition.siblings()
    points = {name: known_points(definition, fixed) for name, fixed in siblings.items()}
    _check_names(siblings)
    in_transaction(storage, _write, definition, points, str(storage.url))


def _write(
    connection: Connection, definition: StudyDefinition, points: Mapping[str, Sequence[Mapping[str, Any]]], url: str
) -> None:
    """points: of each sibling, those that are tried first. Done a second time, it finds nothing that is missing."""
    there = study_tables.lock_studies(connection, points)
    definition.check_limits(min((there[name].trials if name in there else 0 for name in points), default=0))
    _check_size(definition, connection.dialect.name)
    for name, row in there.items():
        _check_ours(definition, name, row, url)
    for name in points:
        row = there.get(name) or study_tables.add_study(connection, name)
        _write_about(connection, definition, name, row)
        _fill(connection, row, points[name], definition.trials_of(name) - row.trials)


def _fill(connection: Connection, row: StudyRow, points: Sequence[Mapping[str, Any]], count: int) -> None:
    """Add so many waiting trials, those of known parameters that the study has not yet first."""
    there = study_tables.fixed_params(connection, row.key) if points and row.trials and count > 0 else []
    study_tables.add_waiting(connection, row.key, waiting(points, there, count))


def _write_about(connection: Connection, definition: StudyDefinition, name: str, row: StudyRow) -> None:
    """What a study says of itself."""
    study_tables.name_metric(connection, row.key, METRIC)
    about = {
        attributes.DEFINITION: definition.to_json(),
        attributes.QUESTION: definition.name,
        attributes.SIBLING: name,
    }
    if needed := definition.plugins:
        about[attributes.PLUGINS] = written(needed)
    study_tables.write_attributes(connection, row, about)


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if len(name) > study_tables.LONGEST:
            most = f"a study's name has at most {study_tables.LONGEST} characters"
            raise TunemaxError(f"study {name[:60]}…: {most}, this one {len(name)}; shorten the value or the name")


def _check_size(definition: StudyDefinition, kind: str) -> None:
    """MySQL would refuse it without a word on what is too long."""
    size = len(json.dumps(definition.to_json()).encode())
    if kind in ("mysql", "mariadb") and size > LONGEST_TEXT:
        remedy = "shorten the question, confirm fewer candidates at once, or use PostgreSQL or a SQLite file"
        raise TunemaxError(
            f"{definition.name}: its definition has {size:,} bytes, MySQL keeps {LONGEST_TEXT:,}; {remedy}"
        )


def _check_ours(definition: StudyDefinition, name: str, row: StudyRow, url: str) -> None:
    """Refuse the name of a study of somebody else's; an empty one that was made with the stock tools is taken over."""
    if row.directions != (StudyDirection.MINIMIZE,):
        directions = ", ".join(direction.name.lower() for direction in row.directions)
        remedy = "a tunemax study minimises one loss; use another name"
        raise TunemaxError(f"study {name}: exists with direction {directions}; {remedy}")
    question = row.attributes.get(attributes.QUESTION)
    if question is None and row.trials:
        about = f"exists with {counted(row.trials, 'trial')} that tunemax did not define"
        raise TunemaxError(f"study {name}: {about}; use another name")
    original = row.attributes.get(attributes.SIBLING, name)
    if question is not None and (question != definition.name or original != name):
        remove = stock(url, "delete-study", "--study-name", name)
        of = original if original != name else question
        raise TunemaxError(f"study {name}: a copy of {of} by other tools; remove it with {remove}, or use another name")
