"""How often a judgement errs, and how soon it knows: few simulations of what benchmarks/calibration_judge.py has in
full."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunemax.search.question.judged import SEEDS

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
REPETITIONS = 500
TOLERATED = 0.05 + 3 * (0.05 * 0.95 / REPETITIONS) ** 0.5
"""An error of 5 %, and what so few simulations may be off."""


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("calibration_judge")


@pytest.fixture
def noise() -> Any:
    """Of a pair of runs, as a share of the loss: about as measured on unshared seeds."""
    return np.random.default_rng(2).standard_t(5, 2000) * 0.006


def test_equal_configurations_are_seldom_called_different(simulated: Any, noise: Any) -> None:
    noise = np.concatenate([noise, -noise])
    verdicts, pairs, _ = simulated.judged(np.random.default_rng(1), noise, 0.0, REPETITIONS)
    assert simulated.false(verdicts, 0.0) == np.mean(np.isin(verdicts, ["better", "worse"])) <= TOLERATED
    assert np.mean(verdicts == "equivalent") > 0.1
    assert pairs.min() >= 6
    assert pairs.max() == SEEDS


def test_what_differs_by_the_margin_is_seldom_called_equivalent(simulated: Any, noise: Any) -> None:
    noise = np.concatenate([noise, -noise])
    verdicts, _, _ = simulated.judged(np.random.default_rng(1), noise, 1.0, REPETITIONS)
    assert simulated.false(verdicts, 1.0) == np.mean(np.isin(verdicts, ["better", "equivalent"])) <= TOLERATED


def test_what_is_clear_takes_less_than_a_third_of_the_seeds(simulated: Any, noise: Any) -> None:
    verdicts, pairs, _ = simulated.judged(np.random.default_rng(1), noise, 6.0, REPETITIONS)
    assert np.mean(verdicts == "worse") > 0.99
    assert pairs.mean() < SEEDS / 3
