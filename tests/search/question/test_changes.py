"""Under which new definitions a study may go on."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.changes import changes, joined
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
    old, new = after(DATA, path, value)
    found = changes(old, new)
    assert shown in [str(change)[: len(shown)] for change in found.refused]
    with pytest.raises(TunemaxError) as caught:
        found.check("q")
    assert str(caught.value).startswith("study q exists with another definition: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("question", "Which?", "question: ? -> Which?"),
        ("budget/trials", 9, "budget.trials: 5 -> 9"),
        ("budget/seconds", 60.0, "budget.seconds: none -> 60.0"),
        ("workers", 4, "workers: none -> 4"),
        ("slots", 4, "slots: none -> 4"),
        (
            "compare",
            ["softmax", "constantmax", "polymax"],
            "compare: [softmax, constantmax] -> [softmax, constantmax, polymax]",
        ),
        ("sampler", "random", "sampler: name=tpe -> name=random"),
        (
            "pruner",
            "none",
            "pruner: name=median warmup=0.333333 startup=5 reduction=2 cooled=False spared=0.1 -> "
            "name=none warmup=0.333333 startup=5 reduction=2 cooled=False spared=0.1",
        ),
        ("base/device", "cpu", "base.device: auto -> cpu"),
        ("base/log_interval", 1, "base.log_interval: 10 -> 1"),
    ],
)
def test_what_leaves_it_comparable_is_allowed_and_told(path: str, value: Any, shown: str) -> None:
    found = changes(*after(DATA, path, value))
    assert [str(change) for change in found.allowed] == [shown]
    found.check("q")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("budget/trials", 3),  # a budget only grows
        ("base/n_head", 4),  # its default
        ("base/polymax.power", 3),  # means nothing in softmax and constantmax
        ("compare", ["constantmax", "softmax"]),
        ("space/learning_rate", {"low": 1e-4, "high": 1e-2, "log": True}),
    ],
)
def test_what_has_no_effect_is_no_change(path: str, value: Any) -> None:
    found = changes(*after(DATA, path, value))
    assert (found.refused, found.allowed) == ((), ())


def test_a_new_variant_joins_with_its_own_dimensions() -> None:
    joined = copy.deepcopy(DATA)
    joined["compare"].append("polymax")
    joined["space"]["polymax.power"] = "default"
    joined["base"]["polymax.divisor"] = 10
    found = changes(define(DATA, name="q"), define(joined, name="q"))
    found.check("q")
    assert [change.key for change in found.allowed] == ["compare", "space.polymax.power"]


def test_a_choice_of_variants_cannot_grow_and_the_refusal_says_how_it_could() -> None:
    data = {
        "question": "?",
        "space": {"softmax_variant": ["softmax", "polymax"]},
        "budget": {"trials": 5, "horizon": 9},
    }
    found = changes(*after(data, "space/softmax_variant", ["softmax", "polymax", "softermax"]))
    with pytest.raises(
        TunemaxError,
        match=r"\[softmax, polymax\] -> \[softmax, polymax, softermax\] .*per: softmax_variant, where one can join",
    ):
        found.check("q")


def test_text_is_known_by_its_fingerprint() -> None:
    old, moved = after(DATA, "data", "/elsewhere/text")
    assert not changes(old.with_fingerprint("a" * 64), moved.with_fingerprint("a" * 64)).refused
    other = changes(old.with_fingerprint("a" * 64), old.with_fingerprint("b" * 64))
    assert [change.key for change in other.refused] == ["data"]


def test_a_grid_stays_a_grid() -> None:
    data = {"question": "?", "space": {"n_layer": [1, 2]}, "budget": {"trials": 2, "horizon": 9}}
    old, grid = after(data, "sampler", "grid")
    assert [change.key for change in changes(old, grid).refused] == ["sampler"]
    assert [change.key for change in changes(grid, old).refused] == ["sampler"]


def test_the_same_definition_has_no_changes() -> None:
    study = define(DATA, name="q")
    found = changes(study, StudyDefinition.from_json(study.to_json()))
    assert (found.refused, found.allowed) == ((), ())


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
