"""Questions in a storage: whole, of the agreed budget, however often and by however many they are asked."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage import attributes, study_tables
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.questions import Question, create, extend, load, load_from, questions

Ask = Callable[..., Question]
GRID = {
    "sampler": "grid",
    "space": {"learning_rate": [1e-3, 3e-3, 1e-2], "weight_decay": [0.0, 0.1]},
    "budget": {"trials": 6},
}


def sizes(question: Question) -> dict[str, int]:
    return {name: len(trials) for name, trials in question.trials().items()}


def known(question: Question, name: str) -> list[dict[str, Any]]:
    """The parameters that a study's waiting trials were given."""
    return [trial.system_attrs.get("fixed_params", {}) for trial in question.trials()[name]]


def dump(where: str) -> list[str]:
    """Everything in a database."""
    with contextlib.closing(sqlite3.connect(where)) as connection:
        return list(connection.iterdump())


def test_a_question_becomes_one_study_a_candidate_with_its_whole_budget(ask: Ask, where: str) -> None:
    question = ask()
    assert sizes(question) == {"q/softmax": 3, "q/polymax": 3}
    for name, trials in question.trials().items():
        study = question.study(name)
        assert study.direction.name == "MINIMIZE"
        assert study.metric_names == ["validation_loss"]
        assert {trial.state for trial in trials} == {TrialState.WAITING}
        assert trials[0].system_attrs["fixed_params"] == {"learning_rate": 0.00316}, "the known baseline comes first"
        assert study.user_attrs[attributes.QUESTION] == "q"
    assert load_from(where, "q").definition == question.definition


def test_without_per_a_question_is_one_study_of_its_name(ask: Ask) -> None:
    assert sizes(ask(per=None, compare=None)) == {"q": 3}


def test_asked_again_nothing_is_doubled(ask: Ask) -> None:
    ask()
    assert sizes(ask()) == {"q/softmax": 3, "q/polymax": 3}


def test_a_larger_budget_is_added_and_a_smaller_one_is_no_change(ask: Ask) -> None:
    ask()
    assert set(sizes(ask(budget={"trials": 5})).values()) == {5}
    again = ask(budget={"trials": 2})
    assert set(sizes(again).values()) == {5}
    assert again.definition.budget.trials == 5


def test_extending_adds_to_each_and_the_old_file_still_joins(ask: Ask, where: str) -> None:
    extended = extend(ask(), 4)
    assert set(sizes(extended).values()) == {7}
    assert load_from(where, "q").definition.budget.trials == 7
    assert set(sizes(ask()).values()) == {7}


def test_a_grid_cannot_be_extended(ask: Ask) -> None:
    with pytest.raises(TunemaxError, match="a grid trains each of its points once"):
        extend(ask(**GRID), 1)


def test_a_new_candidate_joins_with_a_budget_of_its_own(ask: Ask, work: Callable[..., Any]) -> None:
    work(ask())
    question = ask(compare=["constantmax", "softmax", "polymax"])
    assert sizes(question) == {"q/softmax": 3, "q/polymax": 3, "q/constantmax": 3}
    states = {name: {trial.state.name for trial in trials} for name, trials in question.trials().items()}
    assert states == {"q/softmax": {"COMPLETE"}, "q/polymax": {"COMPLETE"}, "q/constantmax": {"WAITING"}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"budget": {"horizon": 40}}, r"budget\.horizon: 20 -> 40"),
        ({"base": {"n_embd": 32}}, r"base\.n_embd: 16 -> 32"),
        ({"compare": ["softmax"]}, r"polymax has its study already"),
        (
            {"space": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}},
            r"0\.0001 to 0\.1, log -> 0\.0001 to 0\.01, log",
        ),
        ({"seed": 2}, r"seed: 1 -> 2"),
    ],
)
def test_a_contradiction_is_refused_with_the_difference_and_changes_nothing(
    ask: Ask, changes: dict[str, Any], told: str
) -> None:
    before = ask()
    with pytest.raises(TunemaxError, match=told):
        ask(**changes)
    after = load(before.storage, "q")
    assert after.definition == before.definition
    assert sizes(after) == sizes(before)


def test_a_creation_that_is_cut_short_leaves_nothing(ask: Ask, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(name="other")
    before = dump(where)
    left = 1

    def cut(*arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        add_waiting(*arguments)

    add_waiting = study_tables.add_waiting
    with monkeypatch.context() as patch:
        patch.setattr(study_tables, "add_waiting", cut)
        with pytest.raises(KeyboardInterrupt):
            ask(**GRID)
    assert dump(where) == before
    question = ask(**GRID)
    expected = [{"learning_rate": rate, "weight_decay": decay} for rate in (1e-3, 3e-3, 1e-2) for decay in (0.0, 0.1)]
    for name in question.siblings:
        assert known(question, name) == expected


def test_creators_at_the_same_time_fill_the_budget_once(
    where: str, defined: Callable[..., StudyDefinition], corpus: Corpus
) -> None:
    definition, failures = defined(budget={"trials": 8}), []

    def make() -> None:
        try:
            create(where, definition, corpus)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sizes(load_from(where, "q")) == {"q/softmax": 8, "q/polymax": 8}


def test_another_text_is_refused(ask: Ask, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("something else entirely. " * 500)
    with pytest.raises(
        TunemaxError, match=r"q: data .* has fingerprint [0-9a-f]{12} here, the study was made with [0-9a-f]{12}"
    ):
        ask().check_data(open_data(str(other)))
    with pytest.raises(TunemaxError, match="losses on other text cannot be compared"):
        create(str(tmp_path / "studies.db"), ask().definition, open_data(str(other)))


@pytest.mark.parametrize(
    "changes",
    [
        {"base": {"block_size": 60000}},
        {"base": {"block_size": None}, "space": {"block_size": [16, 60000]}, "budget": {"equal": "iterations"}},
    ],
)
def test_a_text_shorter_than_a_context_is_refused_before_anything_is_made(
    defined: Callable[..., StudyDefinition], corpus: Corpus, where: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(TunemaxError, match="block_size"):
        create(where, defined(**changes), corpus)
    assert not Path(where).exists()


def test_unknown_questions_are_named_with_the_nearest(ask: Ask, where: str) -> None:
    with pytest.raises(TunemaxError, match="p: no such question in this storage; it is empty"):
        load(open_storage(where, create=True), "p")
    ask(name="variants")
    with pytest.raises(TunemaxError, match=r"varants: no such question in this storage; did you mean `variants`?"):
        load_from(where, "varants")


def test_studies_of_others_are_left_alone(ask: Ask, where: str) -> None:
    storage = open_storage(where, create=True)
    optuna.create_study(storage=storage, study_name="theirs")
    optuna.create_study(storage=storage, study_name="q/polymax", direction="maximize")
    with pytest.raises(TunemaxError, match="study q/polymax: exists with direction maximize"):
        ask()
    assert list(questions(storage)) == []
    assert len(optuna.load_study(storage=storage, study_name="theirs").trials) == 0


def test_a_database_that_stays_locked_is_one_line(ask: Ask, where: str) -> None:
    ask()
    question = load_from(f"sqlite:///{where}?timeout=0.2", "q")
    other = sqlite3.connect(where, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TunemaxError, match=r"studies\.db: locked by another process for longer than 0\.2 s"):
        question.trials()
    other.close()


def test_the_definition_in_the_storage_is_plain_json(ask: Ask) -> None:
    text = ask().study("q/softmax").user_attrs[attributes.DEFINITION]
    budget = json.loads(text)["budget"]
    assert {name: value for name, value in budget.items() if value is not None} == {"trials": 3, "horizon": 20}
