"""The first page of the dashboard: what stands on it, for studies of all kinds and of before."""

from __future__ import annotations

import json
import re
from typing import Any

from tunemax.search.storage.attributes import ANSWER, DEFINITION, QUESTION
from tunemax.search.storage.database import Stored
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
    assert text.index("New?") < text.index("They tie.") < text.index("new.confirmed, 1 study") < text.index("b wins.")
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


def test_tensorboard_is_reached_by_the_name_by_which_the_page_was() -> None:
    class Storage:
        def get_all_studies(self) -> list[Any]:
            return []

    def answer(host: str, port: int | None, path: str = "/", method: str = "GET") -> tuple[str, str]:
        said: list[str] = []
        app = with_home(lambda environ, start: [b"stock"], Storage(), port)
        request = {"PATH_INFO": path, "REQUEST_METHOD": method, "HTTP_HOST": host}
        body = b"".join(app(request, lambda status, headers: said.append(status)))
        return "".join(said), body.decode()

    assert 'href="http://127.0.0.1:6006/"' in answer("127.0.0.1:8080", 6006)[1]
    assert 'href="http://[::1]:6006/"' in answer("[::1]:8080", 6006)[1]
    assert "TensorBoard" not in answer("127.0.0.1:8080", None)[1]
    assert answer("localhost", 6006, method="HEAD") == ("200 OK", "")
    assert answer("localhost", 6006, "/dashboard") == ("", "stock")
