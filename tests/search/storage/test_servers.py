"""Studies on PostgreSQL and MariaDB: what a SQLite file cannot show."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from servers import Server

from tunemax.gpt.data import Corpus
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage.questions import create, load_from

pytestmark = [pytest.mark.services, pytest.mark.databases]


def test_a_question_is_created_and_read_back(
    server: Server, defined: Callable[..., StudyDefinition], corpus: Corpus
) -> None:
    where = server.database()
    create(where, defined(), corpus)
    assert {name: len(trials) for name, trials in load_from(where, "q").trials().items()} == {
        "q/softmax": 3,
        "q/polymax": 3,
    }
