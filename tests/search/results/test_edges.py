"""A winner at an end of its range: when it is told, and with which range to try."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.fields import Above, Choices, Range
from tunemax.search.question.dimension import Dimension
from tunemax.search.results.edges import edges, sentences, written

RATE = Range(1e-4, 1e-1, log=True)


def at_end(field: str, value: Any, dimension: Dimension, **more: Any) -> str | None:
    """The dimension to try, as a study file has it; None if nothing is told."""
    config = Config.of({field: value, **more}).flat()
    found = edges("softmax", config, {field: dimension})
    return written(found[0].wider) if found else None


@pytest.mark.parametrize(
    ("value", "wider"),
    [
        (0.1, "{low: 0.0001, high: 1, log: true}"),
        (0.0872, "{low: 0.0001, high: 1, log: true}"),  # 1.98 % of the logarithm from the end
        (0.0868, None),
        (0.09, "{low: 0.0001, high: 1, log: true}"),
        (0.01, None),
        (0.000115, None),
        (0.000114, "{low: 1e-05, high: 0.1, log: true}"),
        (0.0001, "{low: 1e-05, high: 0.1, log: true}"),
    ],
)
def test_on_a_log_range_an_end_is_2_percent_of_the_logarithm(value: float, wider: str | None) -> None:
    assert at_end("learning_rate", value, RATE) == wider


@pytest.mark.parametrize(
    ("field", "value", "dimension", "wider"),
    [
        # linear, the lower end of which is the field's own
        ("dropout", 0.3, Range(0.0, 0.3), "{low: 0, high: 0.45}"),
        ("dropout", 0.0, Range(0.0, 0.3), None),
        ("dropout", 0.29, Range(0.0, 0.3), None),
        ("dropout", 0.9, Range(0.0, 0.9), "{low: 0, high: 0.95}"),  # below 1, which it may not reach
        ("dropout", 0.2, Range(0.2, 0.6), "{low: 0, high: 0.6}"),  # in binary fractions 3e-17 lower than 0.2 is
        # whole numbers and steps
        ("n_layer", 8, Range(1, 8, step=1), "{low: 1, high: 12, step: 1}"),
        ("n_layer", 1, Range(1, 8, step=1), None),
        ("n_layer", 2, Range(2, 8, step=2), None),  # one step lower is none
        ("n_layer", 96, Range(90, 96, step=1), None),
        ("n_layer", 2, Range(1, 2, step=1), None),  # two values have nothing but ends
        ("dropout", 0.3, Range(0.1, 0.3, step=0.1), "{low: 0.1, high: 0.4, step: 0.1}"),
        ("dropout", 0.1, Range(0.1, 0.3, step=0.1), "{low: 0, high: 0.3, step: 0.1}"),
        ("batch_size", 512, Range(2, 512, log=True), "{low: 2, high: 5120, log: true}"),
        # choices
        ("batch_size", 32, Choices((4, 8, 16, 32)), "[4, 8, 16, 32, 64]"),
        ("batch_size", 4, Choices((32, 16, 8, 4)), "[32, 16, 8, 4, 2]"),
        ("batch_size", 8, Choices((4, 8, 16, 32)), None),
        ("batch_size", 1, Choices((1, 2, 4)), None),
        ("batch_size", 20, Choices((4, 10, 20)), "[4, 10, 20, 30]"),
        ("batch_size", 8, Choices((4, 8)), None),
        ("learning_rate", 0.001, Choices((0.001, 0.01, 0.05)), "[0.0001, 0.001, 0.01, 0.05]"),
        ("learning_rate", 0.05, Choices((0.001, 0.01, 0.05)), "[0.001, 0.01, 0.05, 0.25]"),
        ("bias", True, Choices((False, True)), None),
        ("position", "rotary", Choices(("learned", "rotary")), None),
        # what other fields forbid
        ("n_head", 8, Choices((1, 2, 4, 8)), "[1, 2, 4, 8, 16]"),
    ],
)
def test_kinds_of_dimensions(field: str, value: Any, dimension: Dimension, wider: str | None) -> None:
    assert at_end(field, value, dimension) == wider


def test_an_end_beyond_which_nothing_can_be_trained_is_none() -> None:
    assert at_end("n_head", 8, Choices((1, 2, 4, 8)), n_embd=24) is None


def test_a_field_that_means_nothing_is_not_told() -> None:
    gamma = {"constantmax.gamma": Range(25, 400, log=True)}
    tuned = Config.of({"softmax_variant": "constantmax", "constantmax.gamma": 400.0}).flat()
    assert [edge.field for edge in edges("constantmax", tuned, gamma)] == ["constantmax.gamma"]
    assert edges("softmax", {**tuned, "softmax_variant": "softmax"}, gamma) == ()


def test_a_seed_is_no_end() -> None:
    assert edges("softmax", Config.of({"seed": 1012}).flat(), {"seed": Range(1001, 1012, step=1)}) == ()


RANGES = {name: spec.declared.search for name, spec in all_specs().items() if isinstance(spec.declared.search, Range)}


@given(st.sampled_from(sorted(RANGES)), st.booleans())
def test_what_is_to_be_tried_is_valid_and_wider(name: str, upper: bool) -> None:
    spec, searched = all_specs()[name], RANGES[name]
    config = {each: other.default for each, other in all_specs().items()}
    config[name] = spec.annotation(searched.high if upper else searched.low)
    for condition in (spec.when, *spec.any_of[:1]):
        config |= {
            other: allowed.bound + 1 if isinstance(allowed, Above) else allowed[0]
            for other, allowed in condition.items()
        }
    for edge in edges("x", config, {name: searched}):
        assert isinstance(edge.wider, Range)
        low, high = (spec.check(spec.annotation(end)) for end in (edge.wider.low, edge.wider.high))
        assert (low, high > searched.high) == (searched.low, True) if upper else low < searched.low
        assert edge.wider.log == searched.log


def test_candidates_at_the_same_end_share_a_sentence() -> None:
    space = {"learning_rate": RATE}
    found = [
        edge
        for name, value in (("softmax", 0.0975), ("polymax", 0.1), ("softermax", 0.0001))
        for edge in edges(name, Config.of({"learning_rate": value}).flat(), space)
    ]
    assert sentences(found) == [
        "learning_rate of the best softermax (0.0001) lies at the lower end of what was searched, {low: 0.0001, "
        "high: 0.1, log: true}; try learning_rate: {low: 1e-05, high: 0.1, log: true} in a new study.",
        "learning_rate of the best softmax (0.0975) and polymax (0.1) lies at the upper end of what was searched, "
        "{low: 0.0001, high: 0.1, log: true}; try learning_rate: {low: 0.0001, high: 1, log: true} in a new study.",
    ]
