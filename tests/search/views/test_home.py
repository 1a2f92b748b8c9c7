"""The first page of the dashboard: what stands on it, for studies of all kinds and of before."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from tunemax.search.storage.attributes import ANSWER, DEFINITION, QUESTION
from tunemax.search.storage.database import Stored, stored
from tunemax.search.storage.questions import Question
from tunemax.search.views.dashboard.home import NOTHING, page
from tunemax.search.views.dashboard.servers import with_home


def study(key: int, name: str, answer: str | None = None, asked: str = "Which?") -> Stored:
    attributes = {QUESTION: name.partition("/")[0], DEFINITION: json.dumps({"question": asked})}
    return Stored(key, name, attributes | ({ANSWER: answer} if answer else {}))


def words(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text.partition("<main>")[2])).replace("\u00a0", " ")


def test_the_newest_question_is_first_and_what_confirms_it_below_it() -> None:
    old = [study(1, "old/a", "a wins.", "Old?"), study(2, "old/b", "a wins.", "Old?")]
    new = [study(3, "new/a", "They tie.", "New?"), study(4, "new.confirmed/a", "They tie.", "New?")]
    longer = study(5, "new.confirmed-4x/a", "b wins.", "New?")
    text = words(page([*old, *new, longer]))
    assert text.index("New?") < text.index("They tie.") < text.index("new.confirmed-4x: b wins.")
    assert text.index("b wins.") < text.index("answer in full") < text.index("new.confirmed, 1 study")
    assert text.index("b wins.") < text.index("Old?") < text.index("a wins.")
    assert text.count("They tie.") == text.count("New?") == 1
    again = words(page([*old, *new, longer, study(6, "old.confirmed/a", "a wins.", "Old?")]))
    assert again.index("Old?") < again.index("New?"), "it was worked on last"


def test_studies_without_an_answer_and_of_others_are_there_too() -> None:
    text = page([study(1, "before/a"), Stored(2, "ppo", {}), Stored(3, "<script>", {"answer": "mine"})])
    assert NOTHING in text
    assert 'href="/dashboard/studies/2">ppo<' in text
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "mine" not in text
    assert "No question has been asked yet" in page([])


@pytest.mark.parametrize("key", [QUESTION, DEFINITION, ANSWER])
@pytest.mark.parametrize("value", ['{"cut', "[" * 100_000, "null", "3", "[1]", '{"question": 3}', '"{cut"', '"[]"'])
def test_damaged_studies_do_not_keep_the_others_from_being_shown(
    key: str, value: str, ask: Callable[..., Question], where: str
) -> None:
    for name in ("q", "other"):
        ask(name=name, question=f"Which of {name}?")
    with sqlite3.connect(where) as database:
        studies = "(SELECT study_id FROM studies WHERE study_name LIKE 'q/%')"
        database.execute(f"DELETE FROM study_user_attributes WHERE key = ? AND study_id IN {studies}", (key,))
        columns = "INSERT INTO study_user_attributes (study_id, key, value_json)"
        database.execute(f"{columns} SELECT study_id, ?, ? FROM studies WHERE study_name LIKE 'q/%'", (key, value))
    database.close()
    text = words(page(stored(RDBStorage(f"sqlite:///{where}"))))
    assert "Which of other?" in text
    assert "softmax" in text


def test_tensorboard_is_reached_by_the_name_by_which_the_page_was(empty_database: Path) -> None:
    storage = RDBStorage(f"sqlite:///{empty_database}")

    def answer(host: str, port: int | None, path: str = "/", method: str = "GET") -> tuple[str, str]:
        said: list[str] = []
        app = with_home(lambda environ, start: [b"stock"], storage, port)
        request = {"PATH_INFO": path, "REQUEST_METHOD": method, "HTTP_HOST": host}
        body = b"".join(app(request, lambda status, headers: said.append(status)))
        return "".join(said), body.decode()

    assert 'href="http://127.0.0.1:6006/"' in answer("127.0.0.1:8080", 6006)[1]
    assert 'href="http://[::1]:6006/"' in answer("[::1]:8080", 6006)[1]
    assert "TensorBoard" not in answer("127.0.0.1:8080", None)[1]
    assert answer("localhost", 6006, method="HEAD") == ("200 OK", "")
    assert answer("localhost", 6006, "/dashboard") == ("", "stock")
