"""The leaderboard: exact counts, the stock tools' best, and how far its order can be trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from tunemax.search.results.leaderboard import SEPARABLE, Leaderboard, Repeatability, leaderboard, repeatability
from tunemax.search.storage import attributes
from tunemax.search.storage.questions import Question

Ask = Callable[..., Question]

losses = st.floats(0.5, 6.0)
several = st.lists(st.lists(losses, min_size=4, max_size=8), min_size=2, max_size=6)


# ---- repeatability ---------------------------------------------------------------------------------------------------


@given(several)
@settings(deadline=None)
def test_clearly_separated_candidates_would_come_out_the_same(values: list[list[float]]) -> None:
    apart = [[10.0 * rank + value for value in results] for rank, results in enumerate(values)]
    found = repeatability(apart)
    assert found is not None
    assert (found.expected, found.low) == pytest.approx((1.0, 1.0))


def test_candidates_that_do_not_differ_are_not_separated() -> None:
    """Seven candidates whose results come from one distribution: the truth is 0, and hardly any draw may be called
    separable."""
    draw = np.random.default_rng(1)
    found = [repeatability(draw.normal(size=(7, 16)).tolist()) for _ in range(60)]
    known = [each for each in found if each is not None]
    assert len(known) == 60
    assert abs(np.mean([each.expected for each in known])) < 0.2
    assert not any(each.low >= SEPARABLE for each in known)


def test_five_that_tie_and_two_that_are_behind_are_not_separated() -> None:
    """Their repeats agree on the two alone, which is a correlation of 0.64 on average: as in the quick start, where two
    gave 0.54."""
    draw = np.random.default_rng(1)
    behind = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 10.0])
    found = [repeatability((draw.normal(size=(7, 14)) + behind[:, None]).tolist()) for _ in range(40)]
    assert sum(each is not None and each.low >= SEPARABLE for each in found) <= 4
    assert sum(each is not None and each.expected >= SEPARABLE for each in found) > 10


def test_candidates_that_differ_more_than_their_best_results_vary_are() -> None:
    draw = np.random.default_rng(1)
    values = (draw.normal(size=(7, 16)) + 2 * np.arange(7)[:, None]).tolist()
    found = repeatability(values)
    assert found is not None
    assert found.low > 0.8


@given(several, st.randoms())
@settings(deadline=None)
def test_the_order_of_candidates_and_trials_does_not_matter(values: list[list[float]], random: Any) -> None:
    shuffled = [random.sample(results, len(results)) for results in random.sample(values, len(values))]
    assert repeatability(shuffled) == repeatability(values)


@given(several)
@settings(deadline=None)
def test_it_is_a_correlation(values: list[list[float]]) -> None:
    found = repeatability(values)
    assert found is not None
    assert -1 <= found.low <= 1 + 1e-12
    assert -1 <= found.expected <= 1 + 1e-12


@pytest.mark.parametrize(
    "values", [[], [[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0], []], [[1.0, 2.0, 3.0, 4.0], [4.0, 5.0, 6.0]], [[1.0], [2.0]]]
)
def test_of_too_few_results_nothing_is_said(values: list[list[float]]) -> None:
    assert repeatability(values) is None


def test_infinite_results_rank_last() -> None:
    assert repeatability([[1.0, 1.1, 1.2, 1.3], [math.inf] * 4]) == Repeatability(
        pytest.approx(1.0), pytest.approx(1.0)
    )


@pytest.mark.parametrize(
    ("expected", "left", "verdict"),
    [
        (
            Repeatability(0.95, 0.9),
            0,
            "tuned, not confirmed: rank correlation with a repeat 0.95, in one of ten below 0.90.",
        ),
        (
            Repeatability(0.8, SEPARABLE),
            0,
            "tuned, not confirmed: rank correlation with a repeat 0.80, in one of ten below 0.70.",
        ),
        (
            Repeatability(0.81, 0.52),
            0,
            "tuned, not confirmed: not separable at this budget (rank correlation with a repeat 0.81, in one of ten "
            "below 0.52; 0.7 needed); give it more trials or a longer horizon.",
        ),
        (None, 0, "tuned, not confirmed."),
        (None, 3, "tuned, not confirmed; 3 trials still to come."),
        (
            Repeatability(0.95, 0.9),
            3,
            "tuned, not confirmed; 3 trials still to come: rank correlation with a repeat 0.95, in one of ten below "
            "0.90.",
        ),
    ],
)
def test_the_verdict_says_how_far_the_order_goes(
    ask: Ask, expected: Repeatability | None, left: int, verdict: str
) -> None:
    entries = leaderboard(ask(compare=["softmax"], budget={"trials": max(left, 1)})).entries if left else ()
    assert Leaderboard("Which?", "q", entries, expected).verdict == verdict


# ---- counts and ranks ------------------------------------------------------------------------------------------------


def add(study: optuna.Study, value: float | None, state: TrialState = TrialState.COMPLETE, **more: Any) -> None:
    ours = {attributes.ITERATIONS: 20, attributes.TOKENS: 1280}
    trial = create_trial(state=state, value=value, user_attrs={**ours, **more}, system_attrs={attributes.CONFIG: "{}"})
    study.add_trial(trial)


def test_every_trial_is_counted_once(ask: Ask) -> None:
    question = ask(budget={"trials": 2})
    study = question.study("q/softmax")
    for value in (3.0, 1.0, 2.0, 4.0, 5.0, 6.0):
        add(study, value)
    add(study, 6.5, diverged="diverged: loss is nan", iterations=10)
    add(study, 1.0, duplicate_of=3, iterations=0, tokens=0)
    add(study, 4.5, TrialState.PRUNED, iterations=10, tokens=640)
    add(study, 4.5, TrialState.PRUNED, duplicate_of=10, iterations=0, tokens=0)
    add(study, None, TrialState.FAIL, iterations=0, tokens=0)
    add(study, None, TrialState.FAIL, iterations=0, tokens=0, reason="cancelled")
    add(study, None, TrialState.WAITING, duplicate_of=3, iterations=0, tokens=0)  # cut short before it was told
    study.ask()
    entry, other = leaderboard(question).entries
    counts = {state: getattr(entry, state) for state in attributes.STATES}
    assert counts == {
        "complete": 6,
        "pruned": 1,
        "diverged": 1,
        "duplicate": 2,
        "failed": 1,
        "cancelled": 1,
        "running": 1,
        "waiting": 2,
    }
    assert sum(counts.values()) == len(study.get_trials())
    assert entry.best is not None
    assert (entry.best.value, entry.best.number) == (1.0, 3)
    assert entry.median_of_top == 3.0
    assert entry.member_steps == 6 * 20 + 10 + 10
    assert entry.tokens == 7 * 1280 + 640
    assert entry.values == (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.5)
    assert (other.name, other.best, other.median_of_top, other.waiting) == ("polymax", None, None, 2)


def test_candidates_stand_by_their_best_and_those_without_one_last(ask: Ask) -> None:
    question = ask(compare=["softmax", "polymax", "constantmax"])
    add(question.study("q/polymax"), 1.0)
    add(question.study("q/constantmax"), 2.0)
    assert [entry.name for entry in leaderboard(question).entries] == ["polymax", "constantmax", "softmax"]


@pytest.mark.parametrize(
    "values", [[2.0, 1.0, 3.0], [2.0, 1.0, 1.0], [math.inf, 2.0], [math.inf, math.inf], [-math.inf, 1.0]]
)
def test_the_best_is_the_one_that_optuna_names(ask: Ask, values: list[float]) -> None:
    question = ask(compare=["softmax"])
    study = question.study("q/softmax")
    for value in values:
        study.tell(study.ask(), value)
    (entry,) = leaderboard(question).entries
    assert entry.best is not None
    assert entry.best.value == study.best_value
    assert study.best_trial.number == entry.best.number


def test_a_trial_that_was_told_nan_has_failed(ask: Ask) -> None:
    question = ask(compare=["softmax"])
    study = question.study("q/softmax")
    with pytest.warns(UserWarning, match="not acceptable"):
        study.tell(study.ask(), math.nan)
    (entry,) = leaderboard(question).entries
    assert (entry.failed, entry.complete, entry.best) == (1, 0, None)


def test_variants_as_choices_are_candidates_too(ask: Ask, work: Callable[..., Any]) -> None:
    space = {"softmax_variant": ["softmax", "polymax"], "learning_rate": [1e-3, 1e-2]}
    question = ask(per=None, compare=None, space=space, sampler="grid", budget={"trials": 4})
    work(question)
    board = leaderboard(question)
    assert {entry.name for entry in board.entries} == {"softmax", "polymax"}
    assert [entry.complete for entry in board.entries] == [2, 2]
    assert {entry.study for entry in board.entries} == {"q"}


def test_it_can_be_written_as_json(ask: Ask, work: Callable[..., Any]) -> None:
    question = ask()
    work(question)
    board = leaderboard(question)
    read = json.loads(json.dumps(board.to_json()))
    assert [entry["name"] for entry in read["entries"]] == [entry.name for entry in board.entries]
    best = board.entries[0].best
    assert best is not None
    assert read["entries"][0]["best"]["value"] == best.value
    assert read["entries"][0]["best"]["config"]["softmax_variant"] == board.entries[0].name
    assert (read["verdict"], read["left"]) == (board.verdict, 0)
