"""Tiny studies: a small text, definitions that train in milliseconds, and a worker in this very process."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import MariaDB, PostgreSQL, Server

from tunemax.gpt.data import Corpus, open_data
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.study_file import define
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.questions import Question, create
from tunemax.search.workers.events import Event
from tunemax.search.workers.worker import Worker

WORDS = ["the", "weights", "of", "a", "row", "need", "no", "maximum", "when", "two", "constants", "stand", "for", "it"]


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 kB of words in a random order: there is something to learn in a few steps."""
    draw = random.Random(1)
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(" ".join(draw.choice(WORDS) for _ in range(8000)))
    return path


@pytest.fixture(scope="session")
def corpus(text: Path, data_folder: Path) -> Corpus:
    return open_data(str(text))


@pytest.fixture(scope="session")
def plan(text: Path) -> Callable[..., dict[str, Any]]:
    """The plain data of a study file; keywords change it, key by key in `base` and `budget`; None leaves out."""
    plain: dict[str, Any] = {
        "question": "Which of two is ahead?",
        "name": "q",
        "data": str(text),
        "base": {
            "n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4,
            "eval_interval": 10, "eval_tokens": 128, "device": "cpu",
        },
        "per": "softmax_variant",
        "compare": ["softmax", "polymax"],
        "space": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}},
        "sampler": "random",
        "pruner": "none",
        "budget": {"trials": 3, "horizon": 20},
        "slots": 4,
    }  # fmt: skip

    def make(**changes: Any) -> dict[str, Any]:
        made = copy.deepcopy(plain)
        for key, value in changes.items():
            made[key] = given({**made[key], **value}) if key in ("base", "budget") else value
        return given(made)

    def given(values: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if value is not None}

    return make


@pytest.fixture(scope="session")
def defined(plan: Callable[..., dict[str, Any]]) -> Callable[..., StudyDefinition]:
    return lambda **changes: define(plan(**changes), name="q")


@pytest.fixture
def where(tmp_path: Path) -> str:
    return str(tmp_path / "studies.db")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without studies. To make one takes Optuna a third of a second, to copy one nothing."""
    path = tmp_path_factory.mktemp("empty") / "studies.db"
    open_storage(path, create=True).engine.dispose()
    return path


@pytest.fixture
def ask(
    defined: Callable[..., StudyDefinition], corpus: Corpus, where: str, empty_database: Path
) -> Callable[..., Question]:
    """Create a question, or join it."""

    def create_or_join(**changes: Any) -> Question:
        if not Path(where).exists():
            shutil.copyfile(empty_database, where)
        return create(where, defined(**changes), corpus)

    return create_or_join


@pytest.fixture
def study_file(tmp_path: Path, plan: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        path = tmp_path / "q.yaml"
        path.write_text(yaml.safe_dump(plan(**changes)))
        return path

    return write


@pytest.fixture(scope="session")
def work(corpus: Corpus) -> Callable[..., list[Event]]:
    """Run one worker here, to its end. Returns what it told; `on` hears each event as it comes."""

    def run(
        question: Question, *, slots: int = 4, index: int = 0, on: Callable[[Event], None] | None = None, **when: Any
    ) -> list[Event]:
        events: list[Event] = []

        def report(event: Event) -> None:
            events.append(event)
            if on:
                on(event)

        Worker(question, corpus, index, slots, report, **when).run()
        return events

    return run


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each kind of server in turn."""
    found: Server = request.getfixturevalue(request.param)
    return found
