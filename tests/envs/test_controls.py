"""Dials stay within their bounds, leave alone what they are told to leave alone, and can be turned back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tunemax.envs.controls import STEPS, STRIDE, Actions, Dial, find_dial
from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Above

CONSTANTMAX = Config.of({"softmax_variant": "constantmax"})
DIALS = [
    find_dial(name, Config.of({"softmax_variant": name.partition(".")[0] if "." in name else "constantmax", **extra}))
    for name, extra in [
        ("learning_rate", {}),
        ("weight_decay", {}),
        ("dropout", {}),
        ("grad_clip", {}),
        ("constantmax.beta", {}),
        ("constantmax.gamma", {}),
        ("gain", {}),
        ("polymax.power", {}),
        ("strongermax.strength", {}),
    ]
]
dials = st.sampled_from(DIALS)
units = st.floats(-1, 1)


@given(dials, units)
def test_every_place_has_a_value_within_the_bounds_and_back(dial: Dial, unit: float) -> None:
    value = dial.at(unit)
    assert dial.low <= value <= dial.high
    assert dial.unit(value) == pytest.approx(unit, abs=1e-9)


@given(dials, st.floats(-1e9, 1e9), units)
def test_no_action_leaves_the_bounds(dial: Dial, value: float, action: float) -> None:
    assert dial.low <= dial.moved(value, action) <= dial.high or action == 0


@given(dials, units)
def test_zero_leaves_a_value_alone_in_every_bit(dial: Dial, unit: float) -> None:
    value = dial.at(unit)
    assert dial.moved(value, 0.0) == value


@given(dials, st.floats(-0.5, 0.5), units)
@example(next(dial for dial in DIALS if dial.name == "dropout"), 0.306640625, -1.729329709333639e-102)
def test_an_action_can_be_taken_back(dial: Dial, unit: float, action: float) -> None:
    value = dial.at(unit)
    moved = dial.moved(value, action)
    assert dial.moved(moved, -action) == pytest.approx(value, rel=1e-6, abs=1e-6 * (dial.high - dial.low)) or moved in (
        dial.low,
        dial.high,
    )
    assert (moved - value) * action >= 0


@given(dials, units, units)
def test_a_target_is_reached_by_the_actions_towards_it(dial: Dial, start: float, end: float) -> None:
    value, target = dial.at(start), dial.at(end)
    for _ in range(700):
        value = dial.moved(value, dial.action_towards(value, target))
    assert (
        value == pytest.approx(target, rel=1e-6, abs=1e-6 * (dial.high - dial.low))
        or dial.high - dial.low > 700 * STRIDE
    )


def test_how_far_an_action_of_one_goes() -> None:
    by_name = {dial.name: dial for dial in DIALS}
    assert by_name["learning_rate"].moved(1e-3, 1) == pytest.approx(1.5e-3)
    assert by_name["constantmax.gamma"].moved(90, -1) == pytest.approx(60)
    assert by_name["constantmax.beta"].moved(2.5, 0.5) == pytest.approx(2.5 + 0.5 * math.log(1.5))
    assert 0 < by_name["dropout"].moved(0.0, 1) < 0.05
    assert by_name["learning_rate"].moved(1.0, 1) == 1.0


@pytest.mark.parametrize("base", [math.e, 2.0])
def test_the_gain_moves_gamma_against_it(base: float) -> None:
    config = CONSTANTMAX.replace({"constantmax.base": base})
    values, dial = config.active(), find_dial("gain", config)
    assert dial.read(values) == pytest.approx(-2.5 * math.log(base) - math.log(100))
    moved = dial.fields(dial.moved(dial.read(values), 1), values)
    assert moved == {"constantmax.gamma": pytest.approx(100 / 1.5)}
    assert dial.read({**values, **moved}) == pytest.approx(dial.read(values) + math.log(1.5))
    assert dial.fields(dial.low, values)["constantmax.gamma"] == pytest.approx(1e6)


def test_every_field_that_is_a_control_has_a_dial() -> None:
    extra = {"strongermax.maximum": "guess", "strongermax.clamp": True, "strongermax.obo": 1.0, "tie_weights": False}
    for name, spec in all_specs().items():
        if spec.declared.control:
            needed = {
                other: allowed[0]
                for condition in (spec.when, *spec.any_of[:1])
                for other, allowed in condition.items()
                if not isinstance(allowed, Above)
            }
            config = Config.of({"softmax_variant": "constantmax", **needed, **extra})
            dial = find_dial(name, config)
            assert (dial.low, dial.high) == (spec.declared.control.low, spec.declared.control.high)
            assert spec.check(dial.at(-1)) == dial.at(-1)
            assert spec.check(dial.at(1)) == dial.at(1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("n_layer", "control n_layer: cannot change while a training runs; choose of "),
        ("learning_rat", "control learning_rat: no such field; did you mean `learning_rate`"),
        ("polymax.power", "control polymax.power: means nothing in this configuration"),
        ("constantmax.gama", "no such field; did you mean `constantmax.gamma`"),
    ],
)
def test_what_cannot_be_moved_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(TunemaxError, match=message) as caught:
        find_dial(name, CONSTANTMAX)
    assert "\n" not in str(caught.value)


def test_the_gain_needs_constantmax() -> None:
    with pytest.raises(
        TunemaxError, match="control gain: means nothing for softmax; it needs softmax_variant = constantmax"
    ):
        find_dial("gain", Config.of())


# ---- forms of actions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["box", "absolute", "multidiscrete", "discrete"])
def test_every_action_of_a_space_is_read(form: str) -> None:
    actions = Actions(form, 2)
    actions.space.seed(1)
    for _ in range(50):
        moves = actions.read(actions.space.sample())
        assert moves.shape == (2,)
        assert np.abs(moves).max() <= 1


def test_discrete_actions_are_five_steps_a_control() -> None:
    assert Actions("multidiscrete", 2).read([0, 3]).tolist() == [-1, 0.5]
    assert Actions("discrete", 2).space.n == 25  # type: ignore[attr-defined]
    found = {tuple(Actions("discrete", 2).read(np.int64(number)).tolist()) for number in range(25)}
    assert found == {(a, b) for a in STEPS for b in STEPS}
    assert Actions("discrete", 2).read(12).tolist() == [0, 0]
    assert Actions("discrete", 2).read(1).tolist() == [-0.5, -1], "the first control's digit is the lowest"


@pytest.mark.parametrize(
    ("form", "action", "message"),
    [
        ("box", [0.0], r"action of shape \(1,\): expected \(2,\)"),
        ("box", [[0.0, 0.0]], r"action of shape \(1, 2\): expected \(2,\)"),
        ("box", [0.0, math.nan], "expected finite numbers"),
        ("box", [0.0, math.inf], "expected finite numbers"),
        ("box", ["a", "b"], "expected finite numbers"),
        ("absolute", [math.nan, 0.0], "expected finite numbers"),
        ("multidiscrete", [0, 5], "expected whole numbers from 0 to 4"),
        ("multidiscrete", [0.5, 1.0], "expected whole numbers from 0 to 4"),
        ("discrete", 25, "expected one whole number from 0 to 24"),
        ("discrete", -1, "expected one whole number from 0 to 24"),
        ("discrete", 1.5, "expected one whole number from 0 to 24"),
        ("discrete", [1, 2], "expected one whole number from 0 to 24"),
    ],
)
def test_impossible_actions_are_refused_in_one_line(form: str, action: Any, message: str) -> None:
    with pytest.raises(TunemaxError, match=message) as caught:
        Actions(form, 2).read(action)
    assert "\n" not in str(caught.value)


def test_numbers_beyond_the_box_are_clipped() -> None:
    assert Actions("box", 2).read([-3.0, 1.0000001]).tolist() == [-1, 1]


def test_unknown_forms_and_too_many_discrete_actions_are_refused() -> None:
    with pytest.raises(TunemaxError, match="action = boxx: no such form; did you mean `box`"):
        Actions("boxx", 1)
    with pytest.raises(TunemaxError, match="use multidiscrete"):
        Actions("discrete", 5)
