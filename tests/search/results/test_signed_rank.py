"""Pseudomedian and signed-rank test, against all signs tried out, other people's code, and simulations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from tunemax.search.question.looks import least_p
from tunemax.search.results.signed_rank import (
    EXACT,
    difference,
    distribution,
    one_sided,
    pseudomedian,
    two_sided,
    typical,
    z_score,
)

INF = math.inf
SMALL = st.lists(st.sampled_from([-3, -2, -1, 0, 0, 1, 2, 3, INF, -INF]).map(float), min_size=1, max_size=8)
DISTINCT = st.lists(st.integers(-500, 500).filter(bool), min_size=6, max_size=14, unique_by=abs)


def by_all_signs(differences: list[float]) -> tuple[float, float]:
    """One-sided p from the definition: ranks of the sizes, zeros among them, and every sign of those that are none."""
    ranks = scipy.stats.rankdata(np.abs(differences))
    signed = [(rank, each) for rank, each in zip(ranks, differences, strict=True) if each]
    seen = sum(rank for rank, each in signed if each > 0)
    sums = [sum(itertools.compress([r for r, _ in signed], on)) for on in itertools.product((0, 1), repeat=len(signed))]
    return float(np.mean([total <= seen for total in sums])), float(np.mean([total >= seen for total in sums]))


@given(SMALL)
def test_p_is_the_share_of_signs_that_lead_as_far(differences: list[float]) -> None:
    assert one_sided(differences) == pytest.approx(by_all_signs(differences))


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=8), st.integers(-5, 5))
def test_rounding_breaks_no_ties(differences: list[int], shift: int) -> None:
    whole = by_all_signs([float(each - shift) for each in differences])
    assert one_sided([0.1 * each for each in differences], 0.1 * shift) == pytest.approx(whole)


@given(DISTINCT)
def test_without_ties_it_is_scipys(differences: list[int]) -> None:
    given_ = [float(each) for each in differences]
    assert two_sided(given_) == pytest.approx(scipy.stats.wilcoxon(given_, method="exact").pvalue)


def test_many_pairs_have_the_normal_distribution_where_the_exact_one_ends() -> None:
    draw = np.random.default_rng(1).normal(0.12, 1, EXACT + 1)
    exact = scipy.stats.wilcoxon(draw, method="exact").pvalue
    assert two_sided(list(draw)) == pytest.approx(exact, rel=0.02)
    assert two_sided(list(draw[:-1])) == pytest.approx(scipy.stats.wilcoxon(draw[:-1], method="exact").pvalue)


def test_the_least_p_of_few_pairs() -> None:
    for n, p in ((3, 0.25), (5, 0.0625), (6, 0.03125), (8, 0.0078125)):
        assert two_sided([1.0 + place for place in range(n)]) == least_p(n) == p


def test_where_nothing_differs_p_is_1() -> None:
    assert two_sided([0.0] * 9) == 1.0
    assert z_score([0.0] * 9) == 0.0


@given(SMALL)
def test_the_other_side_is_the_mirror(differences: list[float]) -> None:
    mirrored = [-each for each in differences]
    assert one_sided(mirrored) == pytest.approx(one_sided(differences)[::-1])
    assert pseudomedian(mirrored) == -pseudomedian(differences)
    own, other = typical(differences), typical(mirrored)
    assert (own.low, own.high) == (-other.high, -other.low)
    assert z_score(mirrored) == pytest.approx(-z_score(differences))


def test_pseudomedians_done_by_hand() -> None:
    assert pseudomedian([1.0, 2.0, 6.0]) == pytest.approx((2 + 3.5) / 2)  # of 1, 1.5, 2, 3.5, 4, 6
    assert pseudomedian([5.0]) == 5.0
    assert pseudomedian([INF, -INF]) == 0.0, "means inf, 0, -inf"
    assert pseudomedian([0.0, INF, INF]) == INF
    assert pseudomedian([1.0, 1.0, 1.0, INF]) == 1.0, "6 of 10 means are 1"


def test_a_run_that_diverged_is_worse_than_any_other() -> None:
    assert difference(INF, 2.0) == INF
    assert difference(2.0, INF) == -INF
    assert difference(INF, INF) == 0.0
    assert difference(2.5, 2.0) == 0.5


def test_one_spike_hardly_moves_a_typical_difference() -> None:
    clean = [0.01, 0.012, 0.008, 0.011, 0.009, 0.01, 0.013, 0.007, 0.0105, 0.0095, 0.0115, 0.0085]
    spiked = [*clean[:-1], 5.0]
    assert pseudomedian(spiked) == pytest.approx(pseudomedian(clean), abs=0.001)
    assert typical(spiked).low > 0.005


@given(DISTINCT)
def test_the_interval_has_what_the_test_does_not_reject(differences: list[int]) -> None:
    found = typical([float(each) for each in differences])
    for shift in np.unique([(a + b) / 2 for a, b in itertools.combinations_with_replacement(differences, 2)]) + 0.25:
        rejected = 2 * min(one_sided([float(each) for each in differences], float(shift))) <= 0.05
        assert rejected == (not found.low <= shift <= found.high)


def test_few_pairs_leave_every_value_possible() -> None:
    assert (typical([1.0] * 5).low, typical([1.0] * 5).high) == (-INF, INF)
    assert typical([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).low == 1.0


def test_an_interval_ends_where_divergence_begins() -> None:
    """Of twelve runs three diverged: how much worse they are has no bound."""
    found = typical([0.01 * place for place in range(9)] + [INF] * 3)
    assert found.high == INF
    assert math.isfinite(found.low)


def test_the_distribution_is_of_all_signs() -> None:
    assert distribution(3).tolist() == pytest.approx(np.cumsum([1, 1, 1, 2, 1, 1, 1]) / 8)


@pytest.mark.parametrize("law", ["normal", "t3", "exponential", "spikes"])
def test_intervals_cover_the_pseudomedian(law: str) -> None:
    """93.5 % at least of 2000 intervals, give or take three binomial standard deviations (1.7 %)."""
    rng = np.random.default_rng(7)
    draws = {
        "normal": lambda shape: rng.normal(size=shape),
        "t3": lambda shape: rng.standard_t(3, shape),
        "exponential": lambda shape: rng.exponential(size=shape),
        "spikes": lambda shape: rng.normal(size=shape) + 10 * (rng.random(shape) < 0.05),
    }
    truth = float(np.median(draws[law]((2, 400_000)).mean(axis=0)))
    found = [typical(row) for row in draws[law]((2000, 12))]
    assert np.mean([each.low <= truth <= each.high for each in found]) > 0.935 - 0.017
