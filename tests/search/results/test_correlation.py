"""Correlations of ranks, against cases done by hand, other people's code, and simulations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.search.results.correlation import rank_correlation, spearman


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=20))
def test_the_correlation_of_ranks_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    a, b = ([float(each[side]) for each in pairs] for side in (0, 1))
    found = rank_correlation([[(x, y, 1.0) for x, y in zip(a, b, strict=True)]])
    assert found.n == len(pairs)
    for value in (found.value, spearman(a, b)):
        if len(set(a)) == 1 or len(set(b)) == 1:
            assert math.isnan(value)
        else:
            assert value == pytest.approx(float(scipy.stats.spearmanr(a, b).statistic))


WEIGHTED = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 4)), min_size=2, max_size=12)


def correlated(*groups: list[tuple[int, int, int]]) -> float:
    return rank_correlation([[(float(a), float(b), float(weight)) for a, b, weight in group] for group in groups]).value


@given(WEIGHTED)
@settings(deadline=None)
def test_a_pair_of_whole_weight_counts_as_so_many_equal_ones(pairs: list[tuple[int, int, int]]) -> None:
    copies = [(a, b) for a, b, weight in pairs for _ in range(weight)]
    a, b = zip(*copies, strict=True)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert math.isnan(correlated(pairs))
    else:
        assert correlated(pairs) == pytest.approx(float(scipy.stats.spearmanr(a, b).statistic))


@given(WEIGHTED, st.randoms(), st.sampled_from([lambda x: 3 * x + 1, lambda x: math.exp(x), lambda x: x**3]))
@settings(deadline=None)
def test_order_scale_and_size_of_weights_do_not_matter(
    pairs: list[tuple[int, int, int]], random: Any, rising: Any
) -> None:
    given = [[(float(a), float(b), float(weight)) for a, b, weight in pairs]]
    other = [(float(rising(a)), -b, 7.5 * weight) for a, b, weight in random.sample(pairs, len(pairs))]
    found, turned = rank_correlation(given), rank_correlation([other])
    assert found.n == turned.n
    assert found.value == pytest.approx(-turned.value, nan_ok=True)
    assert not abs(found.value) > 1 + 1e-9
    assert not found.low > found.high
    assert str(rank_correlation([random.sample(given[0], len(pairs))])) == str(found), (
        "the same draws, in whatever order they come"
    )


def test_correlations_by_hand() -> None:
    assert correlated([(1, 1, 1), (2, 2, 1), (3, 3, 1)]) == pytest.approx(1)
    assert correlated([(1, 3, 1), (2, 2, 1), (3, 1, 1)]) == pytest.approx(-1)
    assert correlated([(1, 2, 1), (2, 1, 1), (3, 3, 1)]) == pytest.approx(0.5)
    # of weight 2: ranks 1, 2.5, 2.5, 4 against 2, 3.5, 3.5, 1
    assert correlated([(1, 2, 1), (2, 3, 2), (3, 1, 1)]) == pytest.approx(-1.5 / 4.5)


def test_a_difference_between_groups_is_no_correlation() -> None:
    low, high = [(1, 2, 1), (2, 1, 1)], [(8, 9, 1), (9, 8, 1)]
    assert correlated([*low, *high]) == pytest.approx(0.6)
    assert correlated(low, high) == pytest.approx(-1)
    assert correlated(low, [(5, 5, 1)]) == pytest.approx(-1), "a group of one has no order"


def test_few_pairs_have_no_interval_and_equal_ones_no_correlation() -> None:
    seven = [(float(i), float(i % 3), 1.0) for i in range(7)]
    assert math.isnan(rank_correlation([seven]).low)
    assert math.isfinite(rank_correlation([[*seven, (7.0, 1.0, 1.0)]]).low)
    for found in (
        rank_correlation([]),
        rank_correlation([[(1.0, 2.0, 1.0)]]),
        rank_correlation([[(1.0, float(i), 1.0) for i in range(9)]]),
    ):
        assert math.isnan(found.value)
        assert math.isnan(found.low)


@pytest.mark.parametrize(("n", "normal"), [(12, 0.3), (12, 0.9), (30, 0.7)])
def test_the_interval_of_a_correlation_covers_what_it_says(n: int, normal: float) -> None:
    """95 % of 150 intervals, within three standard errors below (0.89); above, since the bootstrap is wide for few
    pairs."""
    draw = np.random.default_rng(3)
    truth = 6 / math.pi * math.asin(normal / 2)  # Spearman's of two normal variables
    hits = 0
    for _ in range(150):
        a, b = draw.multivariate_normal([0, 0], [[1, normal], [normal, 1]], n).T
        found = rank_correlation([[(float(x), float(y), 1.0) for x, y in zip(a, b, strict=True)]])
        hits += found.low <= truth <= found.high
    assert hits / 150 >= 0.89
