"""A judgement as a question: its name, its seeds, its short horizon, and its budget."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.judged import FIRST, SEEDS, granted_runs, judged, shortened
from tunemax.search.question.looks import looks

SMALL = {"n_layer": 1, "n_head": 2, "n_embd": 16, "max_iters": 400}


def question(a: dict[str, Any], b: dict[str, Any], text: str = "f" * 64, short: int = 50) -> StudyDefinition:
    return judged(("a", Config.of(SMALL | a)), ("b", Config.of(SMALL | b)), text, short)


def test_both_sides_train_exactly_what_they_were_given() -> None:
    given_ = ({"softmax_variant": "constantmax", "constantmax.gamma": 50.0}, {"optimizer": "sgd", "momentum": 0.5})
    definition = question(*given_)
    for fields, (name, fixed) in zip(given_, definition.siblings().items(), strict=True):
        own = Config.of(fixed).replace({"max_iters": 400, "seed": 1})
        assert own.identity == Config.of(SMALL | fields).identity, name
    assert StudyDefinition.from_json(definition.to_json()) == definition


def test_its_name_follows_from_what_is_judged() -> None:
    same = question({}, {"bias": True})
    assert question({"seed": 7, "out_dir": "x"}, {"bias": True, "eval_slice": "test"}).name == same.name
    others = [
        question({}, {"bias": True, "dropout": 0.1}),
        question({"bias": True}, {}),
        question({}, {"bias": True}, text="0" * 64),
        question({}, {"bias": True}, short=100),
    ]
    assert len({definition.name for definition in (same, *others)}) == 5


def test_each_judgement_has_seeds_of_its_own() -> None:
    """Whoever keeps the winner and judges on would else meet the seeds that it was lucky on."""
    seeds = sorted(question({}, {"learning_rate": rate / 1000}).seed for rate in range(1, 9))
    assert min(b - a for a, b in itertools.pairwise(seeds)) >= 2000


@given(st.integers(1, 10**6))
@settings(max_examples=50)
def test_the_horizon_is_a_multiple_of_the_short_one(horizon: int) -> None:
    short = shortened(horizon)
    assert horizon % short == 0
    assert short == horizon // 8 or horizon % 8


def test_a_short_horizon_that_is_no_part_is_refused_with_the_nearest() -> None:
    assert shortened(200, 40) == 40
    with pytest.raises(TunemaxError, match="--short = 30: expected a part of the horizon 200, such as 20 or 25"):
        shortened(200, 30)
    with pytest.raises(TunemaxError, match="--short = 201"):
        shortened(200, 201)


def test_the_least_of_the_budgets_counts_and_too_little_for_any_verdict_is_refused() -> None:
    assert granted_runs(100, None, None, None) == 2 * SEEDS
    assert granted_runs(100, 12, 20, None) == 20
    assert granted_runs(100, None, None, 1750) == 17
    for seeds, runs, steps, least in ((5, None, None, "6"), (None, 11, None, "12"), (None, None, 1199, "1,200")):
        with pytest.raises(
            TunemaxError, match=f"no verdict comes of less than 6 seeds of each side.*at least {least}$"
        ):
            granted_runs(100, seeds, runs, steps)


def test_the_first_look_comes_before_a_third_of_the_seeds() -> None:
    assert looks(FIRST)[0] < SEEDS / 3
