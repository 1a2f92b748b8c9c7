"""How many seeds a difference would need: more than there are, and none that make no pair."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from optuna.trial import FrozenTrial, create_trial

from tunemax.search.results.seeds import needed, runs_per_second


@pytest.mark.parametrize("n", [8, 12, 16, 24])
def test_more_seeds_than_there_are_would_be_needed(n: int) -> None:
    """However near to a verdict they have come: those that are there have settled nothing."""
    lows = []
    for shift in np.linspace(0, 1, 11):
        differences = np.random.default_rng(1).standard_normal(n) + shift
        for low in (needed(list(differences), n).low, needed(list(differences), 12).low):
            assert low is None or low > n
            lows.append(low)
    assert any(lows)


def test_seeds_that_make_no_pair_are_asked_for_too() -> None:
    differences = list(np.random.default_rng(1).standard_normal(12) + 0.5)
    whole, half = needed(differences, 12), needed(differences, 12, kept=0.5)
    assert whole.low
    assert half.low == 2 * whole.low


def run(start: float, end: float) -> FrozenTrial:
    """A run between two times, in seconds."""
    trial, begin = create_trial(value=1.0), datetime(2026, 1, 1)
    trial.datetime_start, trial.datetime_complete = begin + timedelta(seconds=start), begin + timedelta(seconds=end)
    return trial


def test_runs_that_are_trained_at_once_take_their_time_once_and_a_pause_takes_none() -> None:
    assert runs_per_second([run(0, 10), run(0, 10)]) == pytest.approx(0.2)
    assert runs_per_second([run(0, 10), run(5, 20), run(6, 8)]) == pytest.approx(3 / 20)
    assert runs_per_second([run(0, 10), run(86_400, 86_410)]) == pytest.approx(0.1)
    assert runs_per_second([]) is None
