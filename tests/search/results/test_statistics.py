"""Means and shares, against cases done by hand, other people's code, and simulations."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from tunemax.search.results.statistics import estimate, share

LOSSES = st.lists(st.integers(1000, 3000).map(lambda number: number / 1000), min_size=2, max_size=12)

# ---- a mean and its interval -----------------------------------------------------------------------------------------


def test_an_interval_of_few_values_is_students() -> None:
    found = estimate([1.0, 2.0, 4.0])
    assert found is not None
    expected = scipy.stats.ttest_1samp([1.0, 2.0, 4.0], 0).confidence_interval(0.95)
    assert (found.n, found.method) == (3, "t")
    assert (found.mean, found.sd) == pytest.approx((7 / 3, math.sqrt(7 / 3)))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_an_interval_of_many_values_is_the_bootstraps() -> None:
    values = list(np.random.default_rng(1).exponential(size=40))
    found = estimate(values)
    assert found is not None
    assert found.method == "BCa"
    assert found.high - found.mean > found.mean - found.low, "of a skewed sample the interval is not symmetric"
    student = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((student.low, student.high), abs=0.25)


@given(LOSSES)
def test_the_order_of_values_does_not_matter(values: list[float]) -> None:
    assert estimate(values) == estimate(values[::-1])


@pytest.mark.parametrize("count", [2, 12, 40])
def test_values_that_are_all_equal_have_an_interval_of_no_width(count: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = estimate([2.5] * count)
    assert found is not None
    assert (found.low, found.mean, found.high) == (2.5, 2.5, 2.5)


def test_one_value_has_no_interval() -> None:
    assert estimate([1.0]) is None
    assert estimate([]) is None


def test_intervals_of_eight_values_cover_what_they_say() -> None:
    """95 % of 2000 intervals, give or take four binomial standard deviations (2 %)."""
    draw = np.random.default_rng(2)
    samples = draw.normal(1.0, 0.3, (2000, 8))
    found = [estimate(list(sample)) for sample in samples]
    covered = sum(each.low <= 1.0 <= each.high for each in found if each)
    assert abs(covered / 2000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


# ---- shares ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "n"), [(0, 10), (3, 12), (10, 10), (1, 1)])
def test_a_share_has_wilsons_interval(count: int, n: int) -> None:
    z, p = scipy.stats.norm.ppf(0.975), count / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    found = share(count, n)
    assert (found.low, found.high) == pytest.approx((max(0, middle - half), min(1, middle + half)))


def test_a_share_of_nothing_may_be_any() -> None:
    assert (share(0, 0).low, share(0, 0).high) == (0, 1)
