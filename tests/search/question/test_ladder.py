"""The ladder of rates on which a sibling begins, and definitions from before it."""

from __future__ import annotations

import math
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution

from tunemax.envs.agents.scene import Scene
from tunemax.gpt import defaults
from tunemax.gpt.config import Config
from tunemax.gpt.defaults import SCHEMA
from tunemax.search.question.changes import joined
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.ladder import rungs
from tunemax.search.question.study_file import define
from tunemax.search.question.suggest import distributions, known_points

BETA = {"constantmax.beta": "default", "constantmax.gamma": "default"}
DEFAULTS = {"constantmax.beta": 2.5, "constantmax.gamma": 100.0}
PAPER = {"constantmax.beta": 1.0, "constantmax.gamma": 125.0}
RATES = {"low": 1e-4, "high": 1e-1, "log": True}


def question(space: dict[str, Any], variant: str = "constantmax", trials: int = 24, **more: Any) -> StudyDefinition:
    base = {} if "softmax_variant" in space or "per" in more else {"softmax_variant": variant}
    budget = {"trials": trials, "horizon": 20}
    return define({"question": "?", "base": base, "space": space, "budget": budget, **more}, name="q")


def known(definition: StudyDefinition) -> list[dict[str, Any]]:
    return known_points(definition, next(iter(definition.siblings().values())))


def of(schema: int, definition: StudyDefinition) -> StudyDefinition:
    """The definition as it would have been stored by that schema."""
    return StudyDefinition.from_json(definition.model_copy(update={"schema_version": schema}).to_json())


def test_the_first_baseline_climbs_and_the_others_follow() -> None:
    definition = question({"learning_rate": RATES, **BETA})
    steps = [{**DEFAULTS, "learning_rate": rate} for rate in (0.00316, 0.0316, 0.000316)]
    assert known(definition) == [*steps, PAPER]
    assert known(question({"learning_rate": RATES}, "softmax")) == [
        {"learning_rate": rate} for rate in (0.00316, 0.0316, 0.000316)
    ]


@pytest.mark.parametrize(("trials", "count"), [(1, 1), (2, 1), (5, 1), (6, 2), (8, 2), (9, 3), (100, 3)])
def test_a_ladder_takes_a_third_of_the_trials_at_most(trials: int, count: int) -> None:
    points = known(question({"learning_rate": RATES, **BETA}, trials=trials))
    assert len([point for point in points if "learning_rate" in point]) == count
    assert points[0]["learning_rate"] == 0.00316, "the middle comes first"


def test_without_a_baseline_all_defaults_climb() -> None:
    space = {"learning_rate": RATES, "constantmax.beta": {"low": 3, "high": 4}, "weight_decay": "default"}
    assert known(question(space)) == [
        {"learning_rate": rate, "weight_decay": 0.1} for rate in (0.00316, 0.0316, 0.000316)
    ]


def test_of_several_variants_in_one_study_the_first_one_climbs() -> None:
    space = {"softmax_variant": ["softmax", "constantmax"], "learning_rate": RATES, **BETA}
    first = {"softmax_variant": "softmax"}
    assert known(question(space)) == [
        *({**first, "learning_rate": rate} for rate in (0.00316, 0.0316, 0.000316)),
        {"softmax_variant": "constantmax", **DEFAULTS},
        {"softmax_variant": "constantmax", **PAPER},
    ]


def test_siblings_climb_the_same_ladder() -> None:
    names = ["softmax", "constantmax", "strongermax", "polymax"]
    definition = question({"learning_rate": "default", **BETA}, per="softmax_variant", compare=names)
    assert len({rungs(definition, fixed) for fixed in definition.siblings().values()}) == 1


@pytest.mark.parametrize(
    ("space", "more"),
    [
        ({"learning_rate": [2e-3, 1e-2], **BETA}, {}),  # no default of any schema
        (BETA, {}),
        (
            {"learning_rate": {"low": 0.01, "high": 0.03, "step": 0.01, "log": False}},
            {"sampler": "grid", "pruner": "none", "budget": {"horizon": 20}},
        ),
    ],
)
def test_what_is_no_range_has_no_ladder(space: dict[str, Any], more: dict[str, Any]) -> None:
    definition = question(space, **more)
    assert known(definition) == known(of(2, definition))
    assert not any(rungs(definition, fixed) for fixed in definition.siblings().values())


@given(low=st.floats(1e-6, 1.0), factor=st.floats(1.0001, 1e4), trials=st.integers(1, 40))
def test_rungs_lie_in_the_range_and_apart_in_its_logarithm(low: float, factor: float, trials: int) -> None:
    high = min(10.0, low * factor)
    rates, distribution = climbed({"low": low, "high": high, "log": True}, trials)
    assert 1 <= len(set(rates)) == len(rates) <= max(1, trials // 3)
    assert all(distribution._contains(rate) for rate in rates)
    if high > 2 * low:
        for rate, share in zip(rates, (1 / 2, 5 / 6, 1 / 6), strict=False):
            assert math.log(rate / low) / math.log(high / low) == pytest.approx(share, abs=0.02)


@given(low=st.integers(1, 100), step=st.integers(1, 100), steps=st.integers(2, 90), trials=st.integers(1, 40))
@example(low=32, step=2, steps=2, trials=9)
def test_rungs_of_a_stepped_range_lie_on_its_steps(low: int, step: int, steps: int, trials: int) -> None:
    over = {"low": low / 1000, "high": (low + steps * step) / 1000, "step": step / 1000, "log": False}
    rates, distribution = climbed(over, trials)
    assert 1 <= len(set(rates)) == len(rates) <= max(1, trials // 3)
    assert all(distribution._contains(rate) for rate in rates)


def climbed(over: dict[str, Any], trials: int) -> tuple[tuple[float, ...], BaseDistribution]:
    """The ladder of a range, and what Optuna makes of the range."""
    definition = question({"learning_rate": over}, "softmax", trials=trials)
    (fixed,) = definition.siblings().values()
    return rungs(definition, fixed), distributions(definition, fixed)["learning_rate"]


# ---- definitions of before -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [1, 2])
def test_a_definition_from_before_keeps_its_known_points(schema: int) -> None:
    definition = of(schema, question({"learning_rate": RATES, **BETA}))
    rate = {"learning_rate": 1e-3}
    assert known(definition) == [{**DEFAULTS, **rate}, {**PAPER, **rate}]
    assert joined(definition, question({"learning_rate": RATES, **BETA})).schema_version == schema
    narrow = of(schema, question({"constantmax.beta": {"low": 2, "high": 3}, "learning_rate": {**RATES, "low": 0.01}}))
    assert known(narrow) == [{"constantmax.beta": 2.5}]


def test_each_schema_has_the_defaults_of_its_time() -> None:
    """In what siblings fix, in known points, and in the scenes of agents."""
    until = {1: {"beta2": 0.9, "weight_decay": 0.3}, 2: {"beta2": 0.95, "learning_rate": 2e-3}}
    now = Config.of({}).flat()
    with patch.object(defaults, "UNTIL", until):
        definitions = [
            of(schema, question({"learning_rate": RATES, "weight_decay": "default"})) for schema in range(1, SCHEMA + 1)
        ]
        fixed = [next(iter(each.siblings().values())) for each in definitions]
        assert [values.get("beta2") for values in fixed] == [0.9, 0.95, *[None] * 3]
        first = [known(each)[0] for each in definitions]
        assert [point["weight_decay"] for point in first] == [0.3, *[now["weight_decay"]] * 4]
        assert [point["learning_rate"] for point in first] == [2e-3, 2e-3, *[0.00316] * 3]
        scene = Scene.of("Tiny-v1")
        trained = [scene.at(schema).task.config.flat() for schema in (1, 2, 3)]
        assert [(each["beta2"], each["weight_decay"]) for each in trained] == [
            (0.9, 0.3),
            (0.95, now["weight_decay"]),
            (now["beta2"], now["weight_decay"]),
        ]
