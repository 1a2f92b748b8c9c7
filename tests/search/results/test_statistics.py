"""The statistics of a claim, against cases done by hand, other people's code, and simulations."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.search.results.statistics import (
    ALPHA,
    Comparison,
    compare,
    estimate,
    holm,
    improvement,
    interquartile_mean,
    least_p,
    over_grid,
    seeds_for,
    separable_note,
    share,
    sign_flip,
)

LOSSES = st.lists(st.integers(1000, 3000).map(lambda number: number / 1000), min_size=2, max_size=12)
PAIRS = st.lists(st.tuples(st.integers(1000, 3000), st.integers(1000, 3000)), min_size=2, max_size=10)


def paired(a: list[float], b: list[float]) -> Comparison:
    (found,) = compare({"a": dict(enumerate(a)), "b": dict(enumerate(b))}, "b")
    return found


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
        same = paired([2.5] * count, [2.5] * count)
    assert found is not None
    assert (found.low, found.mean, found.high) == (2.5, 2.5, 2.5)
    assert (same.verdict, same.p, same.effect, same.superiority) == ("tie", 1.0, 0.0, 0.5)


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


# ---- signs -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=8))
def test_p_is_the_share_of_signs_that_lead_as_far(differences: list[int]) -> None:
    signed = (zip(signs, differences, strict=True) for signs in itertools.product((1, -1), repeat=len(differences)))
    sums = [sum(sign * size for sign, size in each) for each in signed]
    expected = np.mean([abs(total) >= abs(sum(differences)) for total in sums])
    assert sign_flip([float(each) for each in differences]) == pytest.approx(expected)
    assert sign_flip([0.1 * each for each in differences]) == pytest.approx(expected), "rounding must not break ties"


def test_the_least_p_of_few_pairs() -> None:
    for n, p in ((3, 0.25), (5, 0.0625), (6, 0.03125), (8, 0.0078125)):
        assert sign_flip([1.0] * n) == least_p(n) == p


def test_many_pairs_agree_with_the_exact_p() -> None:
    values = list(np.random.default_rng(3).normal(0.4, 1, 17))
    exact = scipy.stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=2**17, alternative="two-sided"
    ).pvalue
    assert sign_flip(values) == pytest.approx(exact, abs=0.005)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_what_it_says(ps: list[float]) -> None:
    """The i-th smallest is multiplied by how many are not smaller, and none is below one that is smaller."""
    ranked = sorted(ps)
    steps = [min(1.0, (len(ps) - rank) * p) for rank, p in enumerate(ranked)]
    monotone = [max(steps[: rank + 1]) for rank in range(len(ps))]
    assert sorted(holm(ps)) == pytest.approx(monotone)
    assert [sorted(ps)[rank] for rank in np.argsort(np.argsort(ps, kind="stable"), kind="stable")] == ps
    assert all(corrected >= p for corrected, p in zip(holm(ps), ps, strict=True))


def test_holm_of_a_case_done_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


# ---- comparisons -----------------------------------------------------------------------------------------------------


def test_a_comparison_done_by_hand() -> None:
    found = paired([2.1, 2.2, 2.4, 2.3, 2.6, 2.5], [2.0, 2.0, 2.1, 2.1, 2.3, 2.2])
    assert found.difference.mean == pytest.approx(1.4 / 6)
    assert found.relative[0] == pytest.approx(1.4 / 12.7)
    assert found.p == found.p_holm == found.p_least == 0.03125
    assert found.superiority == pytest.approx((2 + 1.5 + 0.5) / 36, abs=0.05)
    assert found.verdict == "worse"


@given(PAIRS)
@settings(max_examples=50)
def test_swapping_both_sides_mirrors_everything(pairs: list[tuple[int, int]]) -> None:
    a, b = ([each[side] / 1000 for each in pairs] for side in (0, 1))
    one, other = paired(a, b), paired(b, a)
    other_verdict = {"better": "worse", "worse": "better", "tie": "tie"}[other.verdict]
    assert one.difference.mean == pytest.approx(-other.difference.mean)
    assert (one.difference.low, one.difference.high) == pytest.approx((-other.difference.high, -other.difference.low))
    assert (one.p, one.verdict) == (other.p, other_verdict)
    assert one.superiority == pytest.approx(1 - other.superiority)
    assert one.seeds_needed == other.seeds_needed


@given(PAIRS, st.integers(1, 50))
@settings(max_examples=50)
def test_units_do_not_matter(pairs: list[tuple[int, int]], unit: int) -> None:
    a, b = ([float(each[side]) for each in pairs] for side in (0, 1))
    one, other = paired(a, b), paired([unit * each for each in a], [unit * each for each in b])
    assert other.p == one.p
    assert other.relative == pytest.approx(one.relative)
    assert other.effect == pytest.approx(one.effect)
    assert other.verdict == one.verdict


def test_only_seeds_that_both_have_are_compared() -> None:
    losses = {"softmax": {1: 2.0, 2: 2.1, 3: 2.2}, "polymax": {2: 2.3, 3: 2.5, 4: 9.0}, "lonely": {1: 2.0, 9: 2.0}}
    (found,) = compare(losses, "softmax")
    assert (found.name, found.n) == ("polymax", 2)
    assert found.difference.mean == pytest.approx(0.25)


def test_more_comparisons_need_more() -> None:
    base = {seed: 2.0 + seed / 100 for seed in range(6)}
    worse = {seed: loss + 0.1 + seed / 1000 for seed, loss in base.items()}
    (alone,) = compare({"softmax": base, "a": worse}, "softmax")
    among = compare({"softmax": base, "a": worse, "b": worse}, "softmax")
    assert (alone.verdict, alone.p_holm) == ("worse", 0.03125)
    assert {(each.verdict, each.p_holm, each.p_least) for each in among} == {("tie", 0.0625, 0.0625)}


def test_where_nothing_differs_a_family_is_seldom_told_apart() -> None:
    """At most 5 % of 300 families of six have any verdict but tie, give or take four binomial standard deviations (5
    %)."""
    draw = np.random.default_rng(4)
    told = 0
    for _ in range(300):
        losses = {str(name): dict(enumerate(draw.normal(2, 0.02, 12))) for name in range(7)}
        told += any(each.verdict != "tie" for each in compare(losses, "0"))
    assert told / 300 <= ALPHA + 4 * math.sqrt(0.05 * 0.95 / 300)


# ---- how many seeds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("effect", "family"), [(1.5, 1), (0.7, 1), (0.7, 6), (0.3, 1)])
def test_the_seeds_that_are_asked_for_are_enough(effect: float, family: int) -> None:
    """In 4000 simulations the t test finds the difference in 80 %, give or take four binomial standard deviations.

    With a tenth fewer it finds it less often.
    """
    needed = seeds_for(effect, 1.0, family)
    assert needed is not None
    draw = np.random.default_rng(5)

    def found(n: int) -> float:
        _, p = scipy.stats.ttest_1samp(draw.normal(effect, 1, (4000, n)), 0, axis=1)
        return float(np.mean(p < ALPHA / family))

    spare = 4 * math.sqrt(0.8 * 0.2 / 4000)
    assert found(needed) > 0.8 - spare
    if least_p(needed - 1, family) < ALPHA:
        assert found(int(0.9 * needed) - 1) < 0.8 + spare


def test_seeds_are_never_fewer_than_signs_can_show() -> None:
    assert seeds_for(5.0, 0.0) == 6
    assert seeds_for(5.0, 1e-9, family=6) == 8
    assert seeds_for(0.0, 1.0) is None
    assert seeds_for(1e-6, 1.0) is None


@pytest.mark.parametrize(
    ("n", "family", "told"), [(3, 1, "6 or more could"), (5, 1, "6 or more could"), (7, 6, "8 or more could")]
)
def test_seeds_too_few_are_told_to_be(n: int, family: int, told: str) -> None:
    note = separable_note(n, family)
    assert note is not None
    assert note.startswith(f"{n} seeds can never show a difference")
    assert note.endswith(f"{told}.")


def test_seeds_enough_are_no_matter_for_a_note() -> None:
    assert separable_note(6) is None
    assert separable_note(8, 6) is None


# ---- runs on the same instances --------------------------------------------------------------------------------------


def test_the_interquartile_mean_is_of_the_middle_half() -> None:
    values = np.array([[100.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, -100.0]])
    assert interquartile_mean(values) == pytest.approx(3.5)
    assert interquartile_mean(np.stack([values, values + 1])).tolist() == pytest.approx([3.5, 4.5])


def test_an_interval_over_a_grid_covers_other_seeds_and_other_instances() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        grid = rng.normal(0, 1, (1, 20)) + rng.normal(0, 1, (8, 1)) + rng.normal(0, 0.3, (8, 20))
        found = over_grid(grid, lambda values: values.mean(axis=(-2, -1)))
        hits += found.low <= 0 <= found.high
    assert 84 <= hits <= 100
    single = over_grid(rng.normal(0, 1, (1, 20)), lambda values: values.mean(axis=(-2, -1)))
    assert single.low < single.mean < single.high


def test_the_probability_of_improvement_counts_ties_half() -> None:
    found = improvement(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([2.0, 2.0, 2.0, 2.0]))
    assert found.mean == pytest.approx(1.5 / 4)
    assert 0 <= found.low <= found.mean <= found.high <= 1
