"""Two names of one training: refused where each would be tuned, told where a trial of both is trained once."""

from __future__ import annotations

from typing import Any

import pytest

from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.study_file import define
from tunemax.search.question.twins import twin_choices
from tunemax.search.question.yaml_lines import Fault

RATE = {"learning_rate": "default"}


def question(base: dict[str, Any] | None = None, space: dict[str, Any] | None = None, **more: Any) -> StudyDefinition:
    budget = {"trials": 4, "horizon": 20, "equal": "iterations"}
    return define({"question": "?", "base": base or {}, "space": space or RATE, "budget": budget, **more}, name="q")


@pytest.mark.parametrize(
    ("base", "per", "compare", "twins"),
    [
        ({}, "attention", ["multi_query", "multi_head", "grouped_query"], ("grouped_query", "multi_query")),
        ({"n_head": 2, "n_kv_head": 2}, "attention", ["grouped_query", "multi_head"], ("multi_head", "grouped_query")),
        ({"block_size": 32}, "window", [16, 32, 64], ("64", "32")),
        ({"n_embd": 64}, "parametrisation", ["standard", "mup"], ("mup", "standard")),
        ({"min_lr_ratio": 1.0}, "schedule", ["cosine", "linear"], ("linear", "cosine")),
        ({}, "momentum", [0.8, 0.9], ("0.9", "0.8")),  # of no optimizer that is here
        ({"optimizer": "sgd", "momentum": 0.0}, "nesterov", [True, False], ("false", "true")),
    ],
)
def test_they_are_not_compared(base: dict[str, Any], per: str, compare: list[Any], twins: tuple[str, str]) -> None:
    base = {**base, **({"mup_base_width": 64} if per == "parametrisation" else {})}
    with pytest.raises(Fault, match=rf"^compare\.\d: {twins[0]} trains the same as {twins[1]} here; keep one$"):
        question(base, per=per, compare=compare)


def test_of_all_kinds_one_of_them_is_compared() -> None:
    assert question(per="attention", base={"head_dim": 32}).compare == ("fractal", "grouped_query", "multi_head")
    apart = question(per="attention", base={"head_dim": 32, "n_kv_head": 2})
    assert apart.compare == ("fractal", "grouped_query", "multi_head", "multi_query")


def test_a_value_that_is_another_one_somewhere_is_compared() -> None:
    """Where heads of keys are searched, grouped queries are more than multi-query attention."""
    space = {**RATE, "n_kv_head": [1, 2]}
    assert question(space=space, per="attention", compare=["multi_query", "grouped_query"])
    assert question(space={**RATE, "block_size": [32, 64]}, per="window", compare=[32, 64])


def test_a_question_that_was_begun_before_there_were_parts_goes_on() -> None:
    asked = {"base": {"min_lr_ratio": 1.0}, "space": RATE, "per": "schedule", "compare": ["cosine", "linear"]}
    data = {"question": "?", "budget": {"trials": 4, "horizon": 20}, **asked}
    assert define(data, name="q", begun=lambda name: 3).compare == ("cosine", "linear")


def test_choices_are_told() -> None:
    told = "space.window: 64 trains the same as 32 here; one of them is enough."
    assert twin_choices(question({"block_size": 32}, {"window": [16, 32, 64]})) == [told]
    assert not twin_choices(question({}, {"window": [16, 32, 64], "block_size": [32, 64]}))
    kinds = question({}, {"attention": ["multi_query", "grouped_query"]})
    assert twin_choices(kinds) == [
        "space.attention: grouped_query trains the same as multi_query here; one of them is enough."
    ]
    own = {"per": {"adamw": [0.01, 0.02], "lion": [0.001, 0.002]}}
    assert not twin_choices(question(space={"learning_rate": own}, per="optimizer", compare=["adamw", "lion"]))
