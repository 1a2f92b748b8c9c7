"""Successive halving: of trials that reach a rung one in `reduction` passes, in whatever order they are judged."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from tunemax.search.question.halving import DUPLICATE_OF, SPARED, Halving, places

RUNGS = (100, 200)
values = st.lists(st.floats(1, 9), min_size=1, max_size=12)


def stopped(pruner: Halving, study: optuna.Study, reports: Sequence[tuple[optuna.Trial, int, float]]) -> list[bool]:
    """Report as a worker does at a stop: all of them, then each is judged."""
    for trial, step, value in reports:
        trial.report(value, step)
    study.pruner = pruner
    return [trial.should_prune() for trial, _, _ in reports]


def share_that_passes(slots: int, reduction: int, draw: random.Random) -> float:
    """Of exchangeable trials, the share that passes the first rung, as slots train them: a stop every 100 steps."""
    study, pruner, left = optuna.create_study(), Halving(RUNGS, reduction), 2 * slots
    running: list[tuple[optuna.Trial, int]] = []
    passed = begun = 0
    while left or running:
        fresh = [(study.ask(), 0) for _ in range(min(left, slots - len(running)))]
        left, begun = left - len(fresh), begun + len(fresh)
        running += fresh
        at = sorted(((draw.random(), trial, step + 100) for trial, step in running), key=lambda report: report[0])
        ends = stopped(pruner, study, [(trial, step, value) for value, trial, step in at if step < 300])
        going = [(trial, step) for _, trial, step in at if step < 300]
        passed += sum(step == 100 and not end for (_, step), end in zip(going, ends, strict=True))
        running = [report for report, end in zip(going, ends, strict=True) if not end]
    return passed / begun


@pytest.mark.parametrize("reduction", [2, 3, 4])
@pytest.mark.parametrize("slots", [8, 16, 48])
def test_over_exchangeable_orders_one_in_reduction_passes(slots: int, reduction: int) -> None:
    draw = random.Random(slots)
    share = statistics.mean(share_that_passes(slots, reduction, draw) for _ in range(200 if reduction == 2 else 40))
    assert share == pytest.approx(1 / reduction, abs=0.05)


@given(losses=values, reduction=st.integers(2, 5), seed=st.integers(0, 99))
def test_the_order_in_which_a_stop_is_judged_does_not_matter(losses: list[float], reduction: int, seed: int) -> None:
    ends = []
    for order in (sorted(range(len(losses))), random.Random(seed).sample(range(len(losses)), len(losses))):
        study = optuna.create_study()
        trials = [study.ask() for _ in losses]
        judged = stopped(Halving(RUNGS, reduction), study, [(trials[i], 100, losses[i]) for i in order])
        ends.append(dict(zip(order, judged, strict=True)))
    assert ends[0] == ends[1]
    passing = sorted(loss for i, loss in enumerate(losses) if not ends[0][i])
    assert passing == sorted(loss for loss in losses if loss <= sorted(losses)[places(len(losses), reduction) - 1])


@given(losses=values)
def test_maximised_it_is_the_mirror_image(losses: list[float]) -> None:
    ends = []
    for direction, sign in (("minimize", 1.0), ("maximize", -1.0)):
        study = optuna.create_study(direction=direction)
        ends.append(stopped(Halving(RUNGS, 2), study, [(study.ask(), 100, sign * loss) for loss in losses]))
    assert ends[0] == ends[1]


def test_those_of_earlier_stops_and_of_other_workers_are_in_the_record_whatever_has_become_of_them() -> None:
    study, pruner = optuna.create_study(), Halving(RUNGS, 2)
    early = [study.ask() for _ in range(4)]
    assert stopped(pruner, study, [(trial, 100, 1.0 + i) for i, trial in enumerate(early)]) == [
        False,
        False,
        True,
        True,
    ]
    study.tell(early[0], state=TrialState.FAIL)
    study.tell(early[2], state=TrialState.PRUNED)
    study.ask().report(1.5, 100)  # another worker's, reported and not yet judged
    study.ask().report(0.1, 90)  # not there yet
    assert stopped(pruner, study, [(study.ask(), 100, 1.6)]) == [False], "the third of six"
    assert stopped(pruner, study, [(study.ask(), 100, 1.7)]) == [True], "the fourth of seven"


def test_duplicates_count_nowhere_and_spared_trials_only_where_they_would_have_been_stopped() -> None:
    study, pruner = optuna.create_study(), Halving(RUNGS, 2)
    for _ in range(5):
        copy = study.ask()
        copy.report(1.0, 100)
        copy.set_user_attr(DUPLICATE_OF, 0)
    assert stopped(pruner, study, [(study.ask(), 100, 2.0)]) == [False], "there is no other"
    spared = study.ask()
    assert stopped(pruner, study, [(spared, 100, 3.0)]) == [True]
    spared.set_user_attr(SPARED, 100)
    assert stopped(pruner, study, [(study.ask(), 100, 2.5)]) == [True], "the second of three"
    spared.report(1.0, 200)
    later = study.ask()
    later.report(1.5, 100)
    assert stopped(pruner, study, [(later, 200, 9.0)]) == [False], "there is no other"


def test_it_judges_where_a_trial_comes_to_a_rung_and_nowhere_else() -> None:
    study, pruner = optuna.create_study(), Halving(RUNGS, 2)
    for _ in range(3):
        study.ask().report(1.0, 110)
    trial = study.ask()
    assert stopped(pruner, study, [(trial, 90, 9.0)]) == [False]
    assert stopped(pruner, study, [(trial, 110, 0.5)]) == [False], "it was judged by its report at 90"
    assert stopped(pruner, study, [(trial, 150, 9.0)]) == [False], "there is no rung"
    assert stopped(pruner, study, [(trial, 210, 9.0)]) == [False], "the first at its rung"
    other = study.ask()
    other.report(0.4, 110)
    assert stopped(pruner, study, [(other, 205, 9.5)]) == [True]
