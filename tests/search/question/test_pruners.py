"""Every pruner stops trials where it may and nowhere else, and never the best one."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from tunemax.search.question.pruners import Pruner

HORIZON = 300
EVALUATED = range(50, HORIZON, 50)
over_pruners = pytest.mark.parametrize("name", Pruner.known())


def pruned_at(pruner: Pruner, curve: dict[int, float]) -> int | None:
    """Where a trial with this curve is stopped, after eight with a far better one."""
    study = optuna.create_study(pruner=pruner.make(HORIZON))
    for _ in range(8):
        trial = study.ask()
        for step in curve:
            trial.report(1.0, step)
            trial.should_prune()
        study.tell(trial, 1.0)
    trial = study.ask()
    for step, value in curve.items():
        trial.report(value, step)
        if trial.should_prune():
            return step
    return None


@pytest.mark.parametrize(
    ("pruner", "stops"),
    [
        ({"name": "none"}, None),
        ({"name": "median"}, 100),
        ({"name": "asha"}, 100),
        ({"name": "median", "warmup": 0.5}, 150),
        ({"name": "asha", "warmup": 0.6}, 200),
    ],
)
def test_nothing_is_pruned_before_its_first_rung(pruner: dict[str, Any], stops: int | None) -> None:
    assert pruned_at(Pruner.model_validate(pruner), dict.fromkeys(EVALUATED, 9.0)) == stops


@over_pruners
def test_the_best_trial_is_never_pruned(name: str) -> None:
    assert pruned_at(Pruner.known()[name](), dict.fromkeys(EVALUATED, 0.5)) is None


@over_pruners
@pytest.mark.parametrize("horizon", [1, 2, 10, HORIZON])
def test_it_is_asked_between_a_third_of_the_horizon_and_its_end(name: str, horizon: int) -> None:
    pruner = Pruner.known()[name]()
    asked = [iteration for iteration in range(2 * horizon) if pruner.asked_at(iteration, horizon)]
    assert bool(asked) == (pruner.prunes and horizon > 1)
    assert all(0.33 * horizon <= iteration < horizon for iteration in asked)
    rungs = pruner.rungs(horizon)
    assert list(rungs) == sorted({*rungs} & {*asked})
    assert rungs[:1] in ((), (pruner.first_rung(horizon),))


def test_rungs_are_so_many_times_later_each() -> None:
    asha = Pruner.known()["asha"]
    assert asha().rungs(300) == (100, 200)
    assert asha(reduction=3).rungs(1000) == (334,)
    assert asha().cooled_rungs(300) == ()
    assert asha(cooled=True).cooled_rungs(300) == (100, 200)
    assert [step for step in range(300) if asha(cooled=True).asked_at(step, 300)] == [100, 200]


def test_median_waits_for_finished_trials() -> None:
    assert pruned_at(Pruner.known()["median"](startup=9), {100: 9.0, 200: 9.0}) is None
