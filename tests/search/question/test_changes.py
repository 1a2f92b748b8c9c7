"""Under which new definitions a study may go on."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.changes import joined
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.study_file import define

DATA: dict[str, Any] = {
    "question": "?",
    "data": "python_stdlib",
    "base": {"n_layer": 2, "n_embd": 32},
    "per": "softmax_variant",
    "compare": ["softmax", "constantmax"],
    "space": {"learning_rate": {"low": 1e-4, "high": 1e-2}, "constantmax.beta": "default"},
    "budget": {"trials": 5, "horizon": 100},
}


def after(old: dict[str, Any], path: str, value: Any) -> tuple[StudyDefinition, StudyDefinition]:
    """The definition of some data, and of the same data with one value changed ("-" removes it)."""
    new = copy.deepcopy(old)
    *parts, last = path.split("/")
    place = new
    for part in parts:
        place = place.setdefault(part, {})
    if value == "-":
        del place[last]
    else:
        place[last] = value
    return define(old, name="q"), define(new, name="q")


def refusal(old: StudyDefinition, new: StudyDefinition) -> str:
    """What stands against it, as the user reads it."""
    with pytest.raises(TunemaxError) as caught:
        joined(old, new)
    message = str(caught.value)
    assert message.startswith("study q exists with another definition: ")
    assert "\n" not in message
    return message.removeprefix("study q exists with another definition: ")


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        (
            "data",
            "shakespeare_char",
            "data: python_stdlib -> shakespeare_char (whether it is the same text is not known)",
        ),
        ("seed", 2, "seed: 1 -> 2 (all trials share one seed"),
        ("name", "other", "name: q -> other"),
        ("budget/horizon", 200, "budget.horizon: 100 -> 200 (losses at another horizon cannot be compared)"),
        ("budget", {"trials": 5, "tokens": 2e6}, "budget: 100 iterations -> 2,000,000 tokens (losses after other work"),
        ("budget", {"trials": 5, "seconds": 9}, "budget: 100 iterations -> 9 seconds of training (losses after other"),
        ("base/n_layer", 3, "base.n_layer: 2 -> 3 (the finished trials were trained with the other)"),
        ("base/n_layer", "-", "base.n_layer: 2 -> 4"),
        ("base/eval_interval", 20, "base.eval_interval: 250 -> 20"),
        ("base/constantmax.gamma", 9, "base.constantmax.gamma: 100.0 -> 9.0"),
        (
            "compare",
            ["constantmax", "polymax"],
            "compare: [softmax, constantmax] -> [constantmax, polymax] (softmax has its study already)",
        ),
        (
            "space/learning_rate",
            {"low": 1e-4, "high": 1e-1},
            "space.learning_rate: 0.0001 to 0.01, log -> 0.0001 to 0.1, log (the finished",
        ),
        ("space/learning_rate", [1e-4, 1e-2], "space.learning_rate: 0.0001 to 0.01, log -> [0.0001, 0.01]"),
        ("space/learning_rate", "-", "space.learning_rate: 0.0001 to 0.01, log -> none"),
        (
            "space/weight_decay",
            "default",
            "space.weight_decay: none -> 0.001 to 1, log (the finished trials do not have it)",
        ),
        (
            "space/constantmax.gamma",
            "default",
            "space.constantmax.gamma: none -> 1 to 1000, log (the finished trials do not have it)",
        ),
    ],
)
def test_what_would_spoil_the_comparison_is_refused(path: str, value: Any, shown: str) -> None:
    assert shown in [change[: len(shown)] for change in refusal(*after(DATA, path, value)).split("; ")]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("question", "Which?"),
        ("budget/trials", 9),
        ("budget/run_seconds", 60.0),
        ("budget/equal", "iterations"),
        ("workers", 4),
        ("slots", 4),
        ("compare", ["softmax", "constantmax", "polymax"]),
        ("sampler", "random"),
        ("pruner", "none"),
        ("base/device", "cpu"),
        ("base/log_interval", 1),
        ("base/n_head", 4),  # its default
        ("base/polymax.power", 3),  # means nothing in softmax and constantmax
    ],
)
def test_what_leaves_it_comparable_is_taken_as_asked(path: str, value: Any) -> None:
    old, new = after(DATA, path, value)
    assert joined(old, new) == new != old


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("budget/trials", 3),  # a budget only grows
        ("compare", ["constantmax", "softmax"]),
        ("space/learning_rate", {"low": 1e-4, "high": 1e-2, "log": True}),
    ],
)
def test_what_has_no_effect_is_no_change(path: str, value: Any) -> None:
    old, new = after(DATA, path, value)
    assert joined(old, new) == old


def test_a_new_variant_joins_with_its_own_dimensions() -> None:
    data = copy.deepcopy(DATA)
    data["compare"].append("polymax")
    data["space"]["polymax.power"] = "default"
    data["base"]["polymax.divisor"] = 10
    new = define(data, name="q")
    assert joined(define(DATA, name="q"), new) == new


def test_a_choice_of_variants_cannot_grow_and_the_refusal_says_how_it_could() -> None:
    data = {
        "question": "?",
        "space": {"softmax_variant": ["softmax", "polymax"]},
        "budget": {"trials": 5, "horizon": 9},
    }
    assert re.search(
        r"\[softmax, polymax\] -> \[softmax, polymax, softermax\] .*per: softmax_variant, where one can join",
        refusal(*after(data, "space/softmax_variant", ["softmax", "polymax", "softermax"])),
    )


def test_text_is_known_by_its_fingerprint() -> None:
    old, moved = after(DATA, "data", "/elsewhere/text")
    assert joined(old.with_fingerprint("a" * 64), moved.with_fingerprint("a" * 64)).data == "/elsewhere/text"
    reason = refusal(old.with_fingerprint("a" * 64), old.with_fingerprint("b" * 64))
    assert reason.startswith("data: python_stdlib aaaa")
    assert reason.count(" -> ") == 1


def test_a_grid_stays_a_grid() -> None:
    data = {"question": "?", "space": {"bias": [True, False]}, "budget": {"trials": 2, "horizon": 9}}
    old, grid = after(data, "sampler", "grid")
    for reason in (refusal(old, grid), refusal(grid, old)):
        assert reason.startswith("sampler: name=")
        assert reason.count(" -> ") == 1


@pytest.mark.parametrize(
    ("unit", "amounts", "shown"),
    [
        ("tokens", (2e6, 4e6), "budget.tokens: 2000000 -> 4000000 (losses after other work cannot be compared)"),
        ("flops", (2e12, 4e12), "budget.flops: 2000000000000.0 -> 4000000000000.0 (losses after other work"),
        ("seconds", (5, 6), "budget.seconds: 5.0 -> 6.0 (losses after other work"),
    ],
)
def test_other_work_is_refused_in_every_unit(unit: str, amounts: tuple[float, float], shown: str) -> None:
    old, new = ({**DATA, "budget": {"trials": 5, unit: amount}} for amount in amounts)
    assert refusal(define(old, name="q"), define(new, name="q")).startswith(shown)
    looks = {**DATA, "budget": {"trials": 5, unit: amounts[0], "looks": 5}}
    assert refusal(define(old, name="q"), define(looks, name="q")).startswith("budget.looks: 20 -> 5")
    assert joined(define(old, name="q"), define(old, name="q")) == define(old, name="q")


def test_an_old_study_of_unequal_work_goes_on_where_that_is_said() -> None:
    stored = json.loads(define(DATA, name="q").to_json())
    stored["budget"] = {"trials": 5, "horizon": 100, "seconds": None}  # as it was stored before work had units
    stored["space"]["batch_size"] = {"values": [4, 8]}
    old = StudyDefinition.from_json(json.dumps(stored))
    said = {**DATA, "space": {**DATA["space"], "batch_size": [4, 8]}}
    new = define({**said, "budget": {**DATA["budget"], "equal": "iterations"}}, name="q")
    assert joined(old, new) == new
    with pytest.raises(TunemaxError, match="no equal work"):
        define(said, name="q")
    tokens = define({**said, "budget": {"trials": 5, "tokens": 1e6}}, name="q")
    assert refusal(old, tokens).startswith("budget: 100 iterations -> 1,000,000 tokens")


def test_the_same_definition_has_no_changes() -> None:
    study = define(DATA, name="q")
    assert joined(study, StudyDefinition.from_json(study.to_json())) == study


def test_joining_keeps_the_larger_budget_and_the_order_of_the_compared() -> None:
    old, new = after(
        {**DATA, "budget": {"trials": 9, "horizon": 100}}, "compare", ["polymax", "constantmax", "softmax"]
    )
    found = joined(old.with_fingerprint("a" * 64), new.model_copy(update={"budget": define(DATA, name="q").budget}))
    assert found.budget.trials == 9
    assert found.compare == ("softmax", "constantmax", "polymax")
    assert found.fingerprint == "a" * 64
    with pytest.raises(TunemaxError, match="seed: 1 -> 2"):
        joined(*after(DATA, "seed", 2))
