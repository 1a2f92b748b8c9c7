"""Points that no result decides: a function of seed, index and name, uniform, and within their distributions."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tunemax.search.question.points import Points, RandomPoints, SobolPoints, value_at

NAMES = ("learning_rate", "weight_decay", "constantmax.beta", "polymax.power")
numbers = st.floats(-100, 100, allow_nan=False)


@st.composite
def spaces(draw: st.DrawFn) -> BaseDistribution:
    kind = draw(st.sampled_from(["float", "log", "step", "int", "log int", "choices"]))
    low, high = sorted(draw(st.tuples(st.integers(1, 50), st.integers(51, 200))))
    if kind == "choices":
        return CategoricalDistribution(draw(st.lists(st.integers(), min_size=1, max_size=5, unique=True)))
    if kind == "int":
        step = draw(st.integers(1, 7))
        return IntDistribution(low, low + step * ((high - low) // step), step=step)
    if kind == "log int":
        return IntDistribution(low, high, log=True)
    if kind == "step":
        return FloatDistribution(low, low + 0.25 * (high - low), step=0.25)
    return FloatDistribution(low / 7, float(high), log=kind == "log")


@given(space=spaces(), coordinate=st.floats(0, 1, exclude_max=True))
def test_a_value_lies_in_its_distribution(space: BaseDistribution, coordinate: float) -> None:
    value = value_at(coordinate, space)
    assert space.to_external_repr(space.to_internal_repr(value)) == value
    assert space._contains(space.to_internal_repr(value))


@pytest.mark.parametrize(
    "space",
    [
        IntDistribution(1, 8, log=True),
        IntDistribution(2, 14, step=3),
        FloatDistribution(0.0, 1.0, step=0.25),
        CategoricalDistribution(["a", "b", "c"]),
    ],
)
def test_every_value_is_drawn_as_often_as_optuna_draws_it(space: Any) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    theirs = Counter(study.ask({"x": space}).params["x"] for _ in range(2000))
    ours = Counter(value_at((index + 0.5) / 2000, space) for index in range(2000))
    assert ours.keys() == theirs.keys()
    assert all(abs(ours[value] - theirs[value]) < 4 * math.sqrt(2000 / len(ours)) for value in ours)


@pytest.mark.parametrize("points", [RandomPoints(1), SobolPoints(1, NAMES)])
def test_coordinates_are_uniform_and_those_of_two_dimensions_independent(points: Points) -> None:
    drawn = np.array([[points.coordinate(index, name) for name in NAMES] for index in range(512)])
    assert ((drawn >= 0) & (drawn < 1)).all()
    for column in drawn.T:
        assert abs(np.histogram(column, bins=8, range=(0, 1))[0] - 64).max() < 30
    assert np.abs(np.corrcoef(drawn.T) - np.eye(len(NAMES))).max() < 0.15
    assert len({tuple(row) for row in drawn}) == 512


def test_a_sobol_sequence_fills_every_cell_of_a_net() -> None:
    points = SobolPoints(3, NAMES)
    for name in NAMES:
        assert sorted(int(64 * points.coordinate(index, name)) for index in range(64)) == list(range(64))
    cells = {tuple(int(8 * points.coordinate(index, name)) for name in NAMES[:2]) for index in range(64)}
    assert len(cells) == 64


@pytest.mark.parametrize("kind", [RandomPoints, lambda seed: SobolPoints(seed, NAMES)])
def test_seeds_draw_other_points_and_the_same_seed_the_same(kind: Any) -> None:
    one, again, other = (
        [kind(seed).coordinate(index, name) for index in range(9) for name in NAMES] for seed in (1, 1, 2)
    )
    assert one == again
    assert not set(one) & set(other)


def test_a_variant_that_joins_later_moves_no_dimension_of_others() -> None:
    before, after = SobolPoints(1, NAMES), SobolPoints(1, [*NAMES, "zero.offset", "a.b"])
    for name in ("learning_rate", "weight_decay"):
        assert [before.coordinate(i, name) for i in range(9)] == [after.coordinate(i, name) for i in range(9)]


def test_known_trials_take_no_point_from_the_others_and_what_they_leave_out_is_drawn() -> None:
    study = optuna.create_study(sampler=RandomPoints(1))
    plain = optuna.create_study(sampler=RandomPoints(1))
    x = {"x": FloatDistribution(0, 1)}
    expected = [plain.ask(x).params["x"] for _ in range(4)]
    for params in ({"x": 0.5}, {}, {"y": 0.25}, {}, {"x": 0.75}):
        study.enqueue_trial(params)
    drawn = [study.ask(x).params["x"] for _ in range(7)]
    assert [drawn[0], drawn[4]] == [0.5, 0.75]
    assert [drawn[i] for i in (1, 3, 5, 6)] == expected
    assert drawn[2] not in expected
