"""Definitions that cannot be read, and limits: one line each, the others work, and nothing is half-written."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from tunemax.search.cli import main
from tunemax.search.question.stages import Confirm
from tunemax.search.results.winners import confirm
from tunemax.search.storage.attributes import DEFINITION
from tunemax.search.storage.database import open_storage, study_names
from tunemax.search.storage.questions import Question, extend, load_from
from tunemax.search.views.dashboard.publish import try_to_publish

Ask = Callable[..., Question]


def edited(**changes: Any) -> Callable[[str], str]:
    """What a definition becomes, in JSON within JSON as Optuna keeps it."""

    def edit(stored: str) -> str:
        definition = json.loads(json.loads(stored))
        for key, value in changes.items():
            definition[key] = {**definition[key], **value} if isinstance(value, dict) else value
        return json.dumps(json.dumps(definition))

    return edit


DAMAGE: dict[str, Callable[[str], str | None]] = {
    "no JSON in it": lambda _: json.dumps("{broken"),
    "no JSON at all": lambda stored: stored[: len(stored) // 2],
    "null": lambda _: "null",
    "a number": lambda _: "5",
    "a list": lambda _: "[1, 2]",
    "empty": lambda _: '""',
    "deleted": lambda _: None,
    "a newer schema": edited(schema_version=99),
    "a key of a newer one": edited(frobnicate=1),
    "an unknown variant": edited(compare=["softmax", "plugmax"]),
    "an unknown field in base": edited(base={"plug_in": 3}),
    "an unknown field in space": edited(space={"plug_in": {"low": 0.0, "high": 1.0}}),
    "an unknown field in per": edited(per="plug_in"),
    "an unknown sampler": edited(sampler={"name": "plug_in"}),
    "no trials": edited(budget={"trials": 0}),
    "trials of another kind": edited(budget={"trials": "many"}),
    "another name": edited(name="p"),
}


def damage(where: str, how: Callable[[str], str | None], question: str = "q") -> None:
    """Change the definition on every study of a question behind our back."""
    with contextlib.closing(sqlite3.connect(where)) as connection, connection:
        rows = connection.execute(
            "SELECT study_user_attribute_id, value_json FROM study_user_attributes JOIN studies USING (study_id) "
            "WHERE key = ? AND (study_name = ? OR study_name LIKE ?)",
            (DEFINITION, question, f"{question}/%"),
        ).fetchall()
        for key, stored in rows:
            text = how(stored)
            connection.execute(
                "UPDATE study_user_attributes SET value_json = ? WHERE study_user_attribute_id = ?", (text, key)
            )
            if text is None:
                connection.execute("DELETE FROM study_user_attributes WHERE study_user_attribute_id = ?", (key,))


def dump(where: str) -> list[str]:
    with contextlib.closing(sqlite3.connect(where)) as connection:
        return list(connection.iterdump())


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a command is refused."""
    assert main(list(words)) == 2, words
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("tunemax: ").removesuffix("\n")


@pytest.mark.parametrize("how", DAMAGE.values(), ids=list(DAMAGE))
def test_a_definition_that_cannot_be_read_stops_nobody_else(
    ask: Ask,
    where: str,
    how: Callable[[str], str | None],
    capsys: pytest.CaptureFixture[str],
    study_file: Callable[..., Path],
) -> None:
    ask()
    ask(name="other", compare=["softmax"])
    damage(where, how)
    here = ["--storage", where]
    assert main(["study", "list", *here]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith(("q: its definition cannot be read: ", "q: none of its studies has its name. "))
    assert others == ["other: 3 waiting"]
    assert main(["study", "list", "--json", *here]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(row["name"], "error" in row) for row in listed] == [("q", True), ("other", False)]
    for words in (["study", "gc"], ["study", "leaderboard", "other"], ["study", "extend", "other", "--trials", "1"]):
        assert main([*words, *here]) == 0
    capsys.readouterr()
    for words in (
        ["study", "show", "q"], ["study", "leaderboard", "q"], ["study", "best", "q"], ["report", "q"],
        ["study", "run", "q"], ["study", "confirm", "q"], ["study", "extend", "q", "--trials", "1"],
        ["study", "cancel", "q"], ["study", "create", str(study_file())],
    ):  # fmt: skip
        assert refused(capsys, *words, *here).startswith("q: ")
    assert str(try_to_publish(where, "q")).startswith("q: ")
    assert try_to_publish(where, "other") is None
    assert "this would delete 2 studies with 6 trials" in refused(capsys, "study", "delete", "q", *here)
    assert main(["study", "delete", "q", "--yes", *here]) == 0
    assert study_names(open_storage(where, create=False)) == ["other/softmax"]
    assert ask().states() == {"waiting": 6}


@pytest.mark.parametrize("how", [DAMAGE["no JSON at all"], DAMAGE["a newer schema"]])
def test_a_confirmation_that_cannot_be_read_is_told_and_left_out(
    ask: Ask, work: Callable[..., Any], where: str, how: Callable[[str], str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    question = ask(budget={"trials": 1})
    work(question)
    seeds = {
        trial.system_attrs["fixed_params"]["seed"]
        for trial in confirm(question, Confirm(seeds=6)).trials()["q.confirmed/softmax"]
    }
    damage(where, how, "q.confirmed")
    assert main(["study", "leaderboard", "q", "--storage", where]) == 0
    told = " ".join(capsys.readouterr().out.replace("\\\n", " ").split())
    assert "q.confirmed: its definition cannot be read" in told
    assert f"delete it with tunemax study delete q.confirmed --yes --storage {where}" in told
    assert main(["study", "delete", "q.confirmed", "--yes", "--storage", where]) == 0
    again = confirm(load_from(where, "q"), Confirm(seeds=6)).trials()["q.confirmed/softmax"]
    assert not seeds & {trial.system_attrs["fixed_params"]["seed"] for trial in again}, (
        "seeds that were seen are used again"
    )


def test_a_sibling_whose_definition_is_damaged_is_mended_by_the_others(ask: Ask, where: str) -> None:
    ask()
    damage(where, DAMAGE["no JSON at all"], "q/polymax")
    assert set(map(len, extend(load_from(where, "q"), 1).trials().values())) == {4}
    assert open_storage(where, create=False).get_all_studies()


def test_a_question_that_was_once_extended_beyond_the_limit_goes_on(
    ask: Ask, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ask()
    damage(where, edited(budget={"trials": 10_002}))
    assert load_from(where, "q").definition.budget.trials == 10_002
    assert main(["study", "list", "--storage", where]) == 0
    assert main(["study", "leaderboard", "q", "--storage", where]) == 0
    capsys.readouterr()
    line = refused(capsys, "study", "extend", "q", "--trials", "1", "--storage", where)
    assert line.startswith("q: --trials = 1: 10,002 trials of each candidate and so many more are above the limit")
    assert main(["study", "delete", "q", "--yes", "--storage", where]) == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("study extend q --trials 10000", "q: --trials = 10000: 1 trial of each candidate and so many more are above"),
        ("study extend q --trials 999999999999999", "q: --trials = 999999999999999: 1 trial of each"),
        ("study extend q --trials 999999999999999999", "--trials = 999999999999999999: expected a whole number ≥ 1"),
        (f"study extend q --trials {'9' * 5000}", "--trials = 999"),
        ("study confirm q --longer 50000001", "q.confirmed-50000001x: budget.horizon = 1000000020: expected"),
        (f"study confirm q --longer {'9' * 15}", "q.confirmed-999999999999999x: budget.horizon = "),
        (f"study confirm q --longer {'9' * 18}", "--longer = 999999999999999999: expected a whole number ≥ 1"),
        ("study confirm q --seeds 1001", "--seeds = 1001: expected 2 to 1000"),
        ("study confirm q --runs 1000001", "--runs = 1000001: expected at most 1000000"),
    ],
    ids=lambda text: text[:40],
)
def test_what_is_beyond_a_limit_is_refused_before_anything_is_written(
    ask: Ask, work: Callable[..., Any], where: str, words: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    work(ask(budget={"trials": 1}))
    before = dump(where)
    assert refused(capsys, *words.split(), "--storage", where).startswith(line)
    assert dump(where) == before


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"budget": {"trials": 10_001}}, "budget.trials: 10001"),
        ({"seed": 2**53, "repeats": 2}, "seed: 9007199254740992, and 2 repeats need seeds up to 9007199254740993"),
        (
            {"budget": {"horizon": 10**8}, "confirm": {"horizons": [1, 20]}},
            "confirm.horizons: 20, which makes budget.horizon",
        ),
        ({"repeats": 21}, "repeats: 21"),
        ({"confirm": {"seeds": 1001}}, "confirm.seeds: 1001"),
    ],
)
def test_so_is_a_file_that_asks_for_it(
    where: str, study_file: Callable[..., Path], changes: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line in refused(capsys, "study", "create", str(study_file(**changes)), "--storage", where)
    assert not Path(where).exists()


def test_seeds_beyond_the_last_one_are_refused(ask: Ask, work: Callable[..., Any], where: str, capsys: Any) -> None:
    work(ask(budget={"trials": 1}, seed=2**53 - 1))
    line = refused(capsys, "study", "confirm", "q", "--storage", where)
    assert line.startswith("q.confirmed: seed = 9007199254741991: expected")
    assert study_names(open_storage(where, create=False)) == ["q/softmax", "q/polymax"]


def test_thousands_of_trials_are_written_in_a_moment(ask: Ask, where: str) -> None:
    """One by one, as Optuna does it, they would be 3,000 transactions."""
    question = ask()
    statements = 0

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "begin")
    def count(_: object) -> None:
        nonlocal statements
        statements += 1

    try:
        extend(question, 1500)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "begin", count)
    assert statements < 40
    assert load_from(where, "q").states() == {"waiting": 3006}
