"""Mean differences in pairs, against cases done by hand, other people's code, and simulations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.search.results.means import MeanComparison, compare_means, holm, least_p, separable_note, sign_flip
from tunemax.search.results.statistics import ALPHA

PAIRS = st.lists(st.tuples(st.integers(1000, 3000), st.integers(1000, 3000)), min_size=2, max_size=10)


def paired(a: list[float], b: list[float]) -> MeanComparison:
    (found,) = compare_means({"a": dict(enumerate(a)), "b": dict(enumerate(b))}, "b")
    return found


@pytest.mark.parametrize("count", [2, 12, 40])
def test_sides_that_are_equal_tie(count: int) -> None:
    same = paired([2.5] * count, [2.5] * count)
    assert (same.verdict, same.p, same.effect, same.superiority) == ("tie", 1.0, 0.0, 0.5)


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
    assert found.p == found.p_holm == 0.03125
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
    (found,) = compare_means(losses, "softmax")
    assert (found.name, found.n) == ("polymax", 2)
    assert found.difference.mean == pytest.approx(0.25)


def test_more_comparisons_need_more() -> None:
    base = {seed: 2.0 + seed / 100 for seed in range(6)}
    worse = {seed: loss + 0.1 + seed / 1000 for seed, loss in base.items()}
    (alone,) = compare_means({"softmax": base, "a": worse}, "softmax")
    among = compare_means({"softmax": base, "a": worse, "b": worse}, "softmax")
    assert (alone.verdict, alone.p_holm) == ("worse", 0.03125)
    assert {(each.verdict, each.p_holm) for each in among} == {("tie", 0.0625)}


def test_where_nothing_differs_a_family_is_seldom_told_apart() -> None:
    """At most 5 % of 300 families of six have any verdict but tie, give or take four binomial standard deviations (5
    %)."""
    draw = np.random.default_rng(4)
    told = 0
    for _ in range(300):
        losses = {str(name): dict(enumerate(draw.normal(2, 0.02, 12))) for name in range(7)}
        told += any(each.verdict != "tie" for each in compare_means(losses, "0"))
    assert told / 300 <= ALPHA + 4 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize(
    ("n", "family", "told"), [(3, 1, "6 or more could"), (5, 1, "6 or more could"), (7, 6, "8 or more could")]
)
def test_instances_too_few_are_told_to_be(n: int, family: int, told: str) -> None:
    note = separable_note(n, family)
    assert note is not None
    assert note.startswith(f"{n} instances can never show a difference")
    assert note.endswith(f"{told}.")


def test_instances_enough_are_no_matter_for_a_note() -> None:
    assert separable_note(6) is None
    assert separable_note(8, 6) is None
