"""Learning rate schedules, as properties of every setting."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemax.gpt.schedule import lr_factor
from tunemax.gpt.train_config import TrainConfig

fractions = st.floats(0, 1)
trains = st.builds(
    TrainConfig,
    max_iters=st.integers(1, 500),
    schedule=st.sampled_from(["cosine", "constant", "linear", "wsd"]),
    warmup_fraction=fractions,
    decay_fraction=fractions,
    min_lr_ratio=fractions,
)


def curve(train: TrainConfig) -> list[float]:
    return [lr_factor(train, i) for i in range(train.max_iters)]


def warmup(train: TrainConfig) -> int:
    return round(train.warmup_fraction * train.max_iters)


@given(trains)
def test_a_factor_lies_between_0_and_1_and_starts_above_0_in_warm_up(train: TrainConfig) -> None:
    found = curve(train)
    assert all(0 <= factor <= 1 for factor in found)
    rising = found[: warmup(train)]
    assert all(0 < before < after for before, after in itertools.pairwise(rising))
    assert not rising or rising[-1] == 1


@given(trains)
def test_after_the_warm_up_it_never_rises(train: TrainConfig) -> None:
    falling = curve(train)[warmup(train) :]
    assert all(before >= after for before, after in itertools.pairwise(falling))
    assert not falling or falling[0] == 1


@given(trains)
def test_it_ends_at_the_minimum_if_it_has_two_iterations_to_get_there(train: TrainConfig) -> None:
    left = train.max_iters - warmup(train)
    if train.schedule == "wsd":
        left = min(left, round(train.decay_fraction * train.max_iters))
    expected = train.min_lr_ratio if left >= 2 and train.schedule != "constant" else 1
    assert curve(train)[-1] == pytest.approx(expected)


@given(trains, st.integers(0, 1000))
def test_past_the_horizon_it_stays_where_it_ended(train: TrainConfig, beyond: int) -> None:
    assert lr_factor(train, train.max_iters + beyond) == lr_factor(train, train.max_iters - 1)


@given(trains)
def test_wsd_is_1_until_the_last_share_of_the_horizon(train: TrainConfig) -> None:
    wsd = train.model_copy(update={"schedule": "wsd"})
    stable = curve(wsd)[warmup(wsd) : wsd.max_iters - round(wsd.decay_fraction * wsd.max_iters)]
    assert all(factor == 1 for factor in stable)


def test_halfway_down_cosine_and_linear_are_where_the_formulas_say() -> None:
    linear = TrainConfig(max_iters=101, warmup_fraction=0, schedule="linear", min_lr_ratio=0.2)
    cosine = linear.model_copy(update={"schedule": "cosine"})
    assert lr_factor(linear, 50) == pytest.approx(0.6)
    assert lr_factor(cosine, 50) == pytest.approx(0.6)
    assert lr_factor(linear, 25) == pytest.approx(0.8)
    assert lr_factor(cosine, 25) == pytest.approx(0.2 + 0.8 * 0.853553, abs=1e-6)
