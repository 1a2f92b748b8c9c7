"""One sequential test: its levels against paths walked, its correction against all combinations, its errors in small
simulations; large ones are in benchmarks/calibration.py."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.search.question.looks import ALPHA, least_p, looks, spent
from tunemax.search.results.sequential import Pairs, corrected, level, overall, settle

P = st.integers(1, 99).map(lambda number: number / 1000)
FAMILIES = st.dictionaries(st.sampled_from("abcd"), st.tuples(P, P), min_size=1)


def pairs(differences: np.ndarray) -> Pairs:  # type: ignore[type-arg]
    return Pairs(tuple(2.0 + each for each in differences), (2.0,) * len(differences))


# ---- looks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planned", [6, 8, 12, 24, 100])
def test_looks_are_two_a_doubling_and_at_the_plan(planned: int) -> None:
    counts = looks(planned)
    assert planned in counts
    assert counts[-1] == 1000
    assert all(b / a < 1.7 or a < 12 for a, b in itertools.pairwise(counts))
    assert all(b / a > 1.1 for a, b in itertools.pairwise(counts)), "two that are next to each other spend for nothing"


@pytest.mark.parametrize("family", [1, 2, 6])
@pytest.mark.parametrize("planned", [2, 6, 7, 12, 24])
def test_no_look_is_made_that_could_settle_nothing(planned: int, family: int) -> None:
    for count in looks(planned, family):
        assert least_p(count) <= ALPHA * spent(count, planned) / family
    assert looks(planned, family)[0] >= 6


def test_all_error_that_is_spent_is_permitted() -> None:
    shares = [spent(n, 12) for n in range(1, 1001)]
    assert shares == sorted(shares)
    assert shares[-1] <= 1
    assert spent(12, 12) == 0.7


@pytest.mark.parametrize("planned", [8, 12, 24])
def test_levels_spend_what_they_may(planned: int) -> None:
    """Of 40,000 paths so many have crossed a level by each look, give or take four binomial standard deviations."""
    counts = np.array(looks(planned))
    steps = np.random.default_rng(1).normal(size=(40_000, len(counts))) * np.sqrt(np.diff([0, *counts]))
    p = 2 * scipy.stats.norm.sf(np.abs(np.cumsum(steps, axis=1)) / np.sqrt(counts))
    crossed = np.logical_or.accumulate(p < [level(int(n), planned) for n in counts], axis=1).mean(axis=0)
    assert crossed == pytest.approx([ALPHA * spent(int(n), planned) for n in counts], abs=4 * math.sqrt(0.05 / 40_000))


def test_a_look_rejects_at_its_level() -> None:
    first, second = level(8, 12), level(12, 12)
    assert first < second < ALPHA
    assert overall([first * 0.999], 12)[0] < ALPHA < overall([first * 1.01], 12)[0]
    assert overall([1.0, second * 0.999], 12)[1] < ALPHA < overall([1.0, second * 1.01], 12)[1]


@given(st.lists(P, min_size=1, max_size=6))
def test_an_overall_p_never_grows_and_is_never_below_its_own(ps: list[float]) -> None:
    found = overall(ps, 12)
    assert found == sorted(found, reverse=True)
    assert all(each >= min(ps[: place + 1]) * 0.999 for place, each in enumerate(found))
    halved = overall([p / 2 for p in ps], 12)
    assert all(less <= more for less, more in zip(halved, found, strict=True))


# ---- families --------------------------------------------------------------------------------------------------------


def test_a_correction_done_by_hand() -> None:
    found = corrected({"a": (0.001, 0.5), "b": (0.01, 0.02), "c": (0.015, 0.9)})
    # a, b and c are open until both p of b are the smaller ones
    assert found["a"] == pytest.approx((0.003, 1.0))
    assert found["b"] == pytest.approx((0.03, 0.06))
    assert found["c"] == pytest.approx((0.045, 1.0))
    after = corrected({"a": (0.001, 0.002), "b": (0.02, 0.9)})
    assert after["b"][0] == pytest.approx(0.02), "of a nothing is left that could be true"


@given(FAMILIES)
def test_no_more_is_rejected_than_by_all_combinations(ps: dict[str, tuple[float, float]]) -> None:
    """A closed test: a hypothesis is rejected if every combination with it is that can be true, by Bonferroni."""
    found = corrected(ps)
    for name, which in itertools.product(ps, (0, 1)):
        others = [[(None,), (0,), (1,)] for other in ps if other != name]
        worst = 0.0
        for chosen in itertools.product(*others):
            names = [other for other in ps if other != name]
            taken = [ps[other][pick[0]] for other, pick in zip(names, chosen, strict=True) if pick[0] is not None]
            both = [ps[name][which], *taken]
            worst = max(worst, len(both) * min(both))
        assert found[name][which] >= min(1.0, worst) - 1e-12
        assert found[name][which] >= ps[name][which]


# ---- verdicts --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.floats(-0.03, 0.03), st.integers(8, 40))
@settings(max_examples=30, deadline=None)
def test_what_is_settled_stands_however_much_is_added(seed: int, shift: float, more: int) -> None:
    given_ = np.random.default_rng(seed).normal(shift, 0.02, 12 + more)
    at_plan, later = (settle({"a": pairs(given_[:n])}, 12)["a"] for n in (12, 12 + more))
    if at_plan.sign:
        assert (later.sign, later.at) == (at_plan.sign, at_plan.at)
    if at_plan.equal_at:
        assert later.equal_at == at_plan.equal_at
    assert later.p <= at_plan.p
    assert later.p_equal <= at_plan.p_equal


def test_what_is_read_between_two_looks_is_that_of_the_last_one() -> None:
    given_ = np.random.default_rng(3).normal(0.01, 0.01, 16)
    read = [settle({"a": pairs(given_[:n])}, 12)["a"] for n in range(12, 16)]
    assert len(set(read)) == 1
    assert settle({"a": pairs(given_)}, 12)["a"] != read[0]


def test_sides_and_margins() -> None:
    wobble = 0.002 * np.random.default_rng(4).normal(size=12)
    for shift, sign, equal in ((-0.05, -1, False), (0.05, 1, False), (0.0, 0, True), (0.005, 1, True)):
        found = settle({"a": pairs(wobble + shift)}, 12, margin=0.005)["a"]  # 0.01 nats
        assert (found.sign, found.equal_at is not None) == (sign, equal), shift
    assert settle({"a": pairs(wobble)}, 12, margin=0.0005)["a"].equal_at is None


def test_a_candidate_without_pairs_is_in_the_family_and_settles_nothing() -> None:
    better = pairs(-0.05 + 0.002 * np.random.default_rng(4).normal(size=12))
    found = settle({"a": better, "b": Pairs((), ())}, 12)
    assert (found["a"].sign, found["b"].sign, found["b"].p) == (-1, 0, 1.0)
    assert found["a"].p > settle({"a": better}, 12)["a"].p
    assert settle({}, 12) == {}


def test_a_verdict_says_at_which_look_it_was_settled() -> None:
    rng = np.random.default_rng(5)
    clear = settle({"a": pairs(rng.normal(0.05, 0.01, 24))}, 24)["a"]
    assert (clear.sign, clear.at) == (1, looks(24)[0])


def test_looking_after_every_seed_errs_seldom() -> None:
    """Planned with 12, extended to 48: at most 5 % of 600, give or take three binomial standard deviations (2.7 %)."""
    draw = np.random.default_rng(6).normal(0, 0.02, (600, 48))
    wrong = [settle({"a": pairs(row)}, 12, margin=1e-9)["a"].sign != 0 for row in draw]
    assert np.mean(wrong) < 0.05 + 0.027
    naive = np.any([scipy.stats.ttest_1samp(draw[:, :n], 0, axis=1).pvalue < ALPHA for n in range(6, 49)], axis=0)
    assert np.mean(naive) > 0.15, "what a test made anew at every seed would do"


def test_families_of_mixed_truths_err_seldom() -> None:
    """Anything false of four candidates, at 0, at the margin, and far apart, in at most 5 % of 250 (+ 4.1 %)."""
    rng, margin = np.random.default_rng(7), 0.005
    truths = (0.0, 1.0, -1.0, 5.0)
    wrong = 0
    for _ in range(250):
        reference = rng.normal(2, 0.01, 24)
        own = {str(t): reference + t * margin * 2 + rng.normal(0, 0.014, 24) for t in truths}
        found = settle({name: Pairs(tuple(each), tuple(reference)) for name, each in own.items()}, 12, margin)
        wrong += any(
            (each.sign * truth <= 0 and each.sign != 0) or (each.equal_at is not None and abs(truth) >= 1)
            for truth, each in zip(truths, found.values(), strict=True)
        )
    assert wrong / 250 < 0.05 + 0.041
