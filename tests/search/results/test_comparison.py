"""Candidates beside a reference: what counts, what it is called, and in which words."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.search.question.looks import looks
from tunemax.search.results.comparison import Comparison, Runs, claim, compare
from tunemax.search.results.modes import split
from tunemax.search.results.reliability import mcnemar, reliability
from tunemax.search.results.seeds import POWER, needed
from tunemax.search.results.sequential import level
from tunemax.search.results.signed_rank import z_score

INF = math.inf
LOSS = st.one_of(st.integers(1000, 3000).map(lambda number: number / 1000), st.just(INF))
PAIRS = st.lists(st.tuples(LOSS, LOSS), min_size=2, max_size=14)
SEEDS = np.random.default_rng(0).normal(2.0, 0.03, 24)
"""Losses of a reference."""
WOBBLE = np.random.default_rng(1).normal(0, 0.004, 24)


def paired(
    own: Sequence[float], other: Sequence[float], planned: int | None = None, margin: float = 0.005
) -> Comparison:
    runs = {"a": dict(enumerate(map(float, own))), "b": dict(enumerate(map(float, other)))}
    (found,) = compare(runs, "b", planned or len(own), margin)
    return found


def shifted(by: float, n: int = 12, lost: int = 0) -> list[float]:
    """Losses that differ from the reference's by about so much; the last few diverged."""
    losses = [float(each) for each in SEEDS[:n] + WOBBLE[:n] + by]
    return losses[: n - lost] + [INF] * lost


REFERENCE = [float(each) for each in SEEDS[:12]]


# ---- what counts -----------------------------------------------------------------------------------------------------


@given(PAIRS)
@settings(max_examples=40, deadline=None)
def test_swapping_both_sides_mirrors_everything(pairs: list[tuple[float, float]]) -> None:
    one, other = paired(*zip(*pairs, strict=True)), paired(*zip(*[(b, a) for a, b in pairs], strict=True))
    assert one.typical.value == -other.typical.value
    assert (one.typical.low, one.typical.high) == (-other.typical.high, -other.typical.low)
    assert (one.p, one.settled.sign) == pytest.approx((other.p, -other.settled.sign))
    assert one.superiority == pytest.approx(1 - other.superiority)
    assert one.reliability.p == other.reliability.p
    assert (one.reliability.own.diverged, one.reliability.other.diverged) == (
        other.reliability.other.diverged,
        other.reliability.own.diverged,
    )


@given(PAIRS, st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_units_do_not_matter(pairs: list[tuple[float, float]], unit: int) -> None:
    one = paired(*zip(*pairs, strict=True))
    other = paired(*zip(*[(unit * a, unit * b) for a, b in pairs], strict=True))
    assert (one.verdict, one.settled.sign, one.settled.at) == (other.verdict, other.settled.sign, other.settled.at)
    assert one.p == pytest.approx(other.p)
    assert one.relative == pytest.approx(other.relative, nan_ok=True)


def test_only_seeds_that_both_have_ended_are_compared() -> None:
    runs = {
        "softmax": {1: 2.0, 2: 2.1, 3: 2.2, 4: None},
        "polymax": {2: 2.3, 3: 2.5, 4: 9.0},
        "lonely": {1: 2.0, 9: 2.0},
        "waiting": {1: None, 2: None},
    }
    (found,) = compare(runs, "softmax", 6)
    assert (found.name, found.seeds, found.n) == ("polymax", (2, 3), 2)
    assert found.typical.value == pytest.approx(0.25)
    with pytest.raises(KeyError):
        compare(runs, "sigsoftmax", 6)


def test_a_verdict_waits_for_seeds_in_their_order() -> None:
    """Which of them ends first is no accident: what diverges ends soon."""
    own = dict(enumerate(shifted(-0.05)))
    reference = dict(enumerate(REFERENCE))
    (whole,) = compare({"a": own, "b": reference}, "b", 12)
    (held,) = compare({"a": own | {3: None}, "b": reference}, "b", 12)
    assert (whole.verdict, held.verdict, held.n) == ("better", "undecided", 11)
    (failed,) = compare({"a": {seed: loss for seed, loss in own.items() if seed != 3}, "b": reference}, "b", 12)
    assert failed.verdict == "better", "a seed that will never end is not waited for"


def test_a_verdict_that_has_been_reached_stays_when_seeds_are_added() -> None:
    own = [*shifted(-0.05), *(each + 0.05 for each in shifted(0, 24)[12:])]
    before, after = paired(own[:12], SEEDS[:12]), paired(own, SEEDS, planned=12)
    assert (before.verdict, after.verdict) == ("better", "better")
    assert after.settled.at == before.settled.at


def test_waiting_candidates_count_in_the_family() -> None:
    own, reference = dict(enumerate(shifted(-0.05))), dict(enumerate(REFERENCE))
    (alone,) = compare({"a": own, "b": reference}, "b", 12)
    (among,) = compare({"a": own, "c": dict.fromkeys(range(12)), "b": reference}, "b", 12)
    assert among.p_corrected > alone.p_corrected


def test_diverged_runs_are_in_the_typical_difference_and_not_in_the_mean() -> None:
    found = paired(shifted(0.01, lost=3), REFERENCE)
    whole = paired(shifted(0.01)[:9], REFERENCE[:9])
    assert found.n == 12
    assert found.difference == whole.difference
    assert found.typical.value > whole.typical.value
    assert found.typical.high == INF
    assert found.scale == pytest.approx(whole.scale, abs=0.03)
    assert math.isfinite(found.effect)


# ---- what it is called -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "other", "verdict"),
    [
        (shifted(-0.05), REFERENCE, "better"),
        (shifted(0.05), REFERENCE, "worse"),
        (shifted(0.0), REFERENCE, "equal"),
        (list(SEEDS[:12] + 8 * WOBBLE[:12]), REFERENCE, "undecided"),
        (shifted(-0.05, lost=1), REFERENCE, "mixed"),  # better, but less reliable
        (shifted(0.05), [*REFERENCE[:11], INF], "mixed"),  # worse, but more reliable
        (shifted(0.0, 24, lost=1), list(SEEDS), "mixed"),
        (shifted(0.0, lost=10), REFERENCE, "worse"),
        (shifted(0.0), [*REFERENCE[:2], *[INF] * 10], "better"),
        (shifted(-0.05, lost=1), [*REFERENCE[:11], INF], "better"),  # no less reliable
        ([INF] * 12, [INF] * 12, "undecided"),
    ],
)
def test_verdicts(own: list[float], other: list[float], verdict: str) -> None:
    assert paired(own, other).verdict == verdict


def test_what_is_better_by_less_than_the_margin_is_both() -> None:
    found = paired(shifted(-0.005, 24), SEEDS, margin=0.01)
    assert (found.verdict, found.settled.equal_at is not None) == ("better", True)
    assert claim(found, "loss", "here").endswith("here; that is equal within 1 %")


def test_bad_modes_that_are_too_many_make_it_mixed() -> None:
    """Typically better by 0.15, but six of 24 runs end 0.2 higher."""
    own = [loss + 0.2 * (place % 4 == 3) for place, loss in enumerate(shifted(-0.15, 24))]
    found = paired(own, SEEDS)
    assert found.reliability.p < 0.05
    assert (found.typically, found.verdict) == ("better", "mixed")
    assert "6 of 24 runs of a end 0.2" in claim(found, "loss", "here")


def test_a_candidate_that_loses_its_bad_quarter_is_not_called_better() -> None:
    """Of 300 that differ in nothing but that what would have been the worst quarter diverges; a mean over what is left
    calls 14 % of them better."""
    rng = np.random.default_rng(8)
    own, other = (2.2 + rng.normal(0, 0.03, (300, 24)) for _ in range(2))
    own[own > 2.2 + 0.03 * 0.6745] = INF
    said = [paired(a, b).verdict for a, b in zip(own, other, strict=True)]
    assert said.count("better") / 300 < 0.01


def test_where_nothing_differs_a_family_is_seldom_told_apart() -> None:
    """At most 5 % of 150 families of six have a verdict, give or take three binomial standard deviations (5.3 %)."""
    draw = np.random.default_rng(4)
    told = 0
    for _ in range(150):
        runs = {str(name): dict(enumerate(map(float, draw.normal(2, 0.02, 12)))) for name in range(7)}
        told += any(each.verdict != "undecided" for each in compare(runs, "0", 12, margin=1e-6))
    assert told / 150 <= 0.05 + 0.053


# ---- reliability -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (3, 1), (6, 0), (2, 9), (5, 5)])
def test_uneven_losses_have_the_binomial_p(one: int, other: int) -> None:
    expected = scipy.stats.binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(expected)


def test_lost_runs_are_those_that_diverged_or_ended_in_the_bad_mode() -> None:
    own = [2.0 + 0.001 * place for place in range(9)] + [2.15, 2.16, INF]
    found = reliability(own, [2.0 + 0.001 * place for place in range(12)])
    assert (found.own.diverged.count, found.own.either.count, found.own.either.n) == (1, 3, 12)
    assert found.own.modes is not None
    assert found.own.modes.sentence("polymax") == "2 of 11 runs of polymax end 0.15 higher"
    assert found.own.sentences("polymax") == [
        "polymax diverged in 1 of 12 runs",
        "2 of 11 runs of polymax end 0.15 higher",
    ]
    assert found.p == pytest.approx(0.25)
    assert found.less
    assert not found.greater


def test_a_run_far_above_the_others_is_a_mode_and_a_wide_scatter_is_none() -> None:
    tight = [2.1 + 0.004 * place for place in range(11)]
    found = split([*tight, 2.27])
    assert found is not None
    assert (found.worse, found.sentence("softmax")) == (1, "1 of 12 runs of softmax ends 0.15 higher")
    assert split(tight) is None
    assert split([*tight, 2.27], least=0.2) is None, "a step that counts as equal is no mode"
    assert split([2.0, 2.0, 2.0, 3.0]) is None, "so few runs say nothing"


@pytest.mark.parametrize(("n", "law", "most"), [(12, "normal", 0.05), (24, "normal", 0.02), (12, "t3", 0.15)])
def test_modes_are_seldom_seen_where_there_are_none(n: int, law: str, most: float) -> None:
    rng = np.random.default_rng(9)
    draw = rng.normal(size=(1000, n)) if law == "normal" else rng.standard_t(3, (1000, n))
    assert np.mean([split(row) is not None for row in draw]) < most


def test_two_modes_are_mostly_seen() -> None:
    rng = np.random.default_rng(10)
    draw = rng.normal(2.15, 0.02, (500, 24)) + 0.13 * (np.arange(24) % 5 == 0)
    assert np.mean([split(row) is not None for row in draw]) > 0.5


# ---- how many seeds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [1, 4])
def test_seeds_needed_are_those_of_a_look_to_come_at_its_level(family: int) -> None:
    """Of effects that leave such a z in a tenth of undecided cases, and in nine tenths: each with the power of 80 %."""
    differences = list(np.random.default_rng(2).normal(0.2, 1, 12))
    seen, normal = z_score(differences), scipy.stats.norm

    def edge(count: int) -> float:
        return float(normal.isf(level(count, 12, family) / 2))

    def below(center: float) -> float:
        low, cut = normal.cdf(-edge(12) - center), normal.cdf(edge(12) - center)
        return float((normal.cdf(seen - center) - low) / (cut - low))

    ends = [scipy.optimize.brentq(lambda center, share=share: below(center) - share, -4, 5) for share in (0.1, 0.9)]
    expected = [
        next(
            (n for n in looks(12, family) if n > 12 and normal.sf(edge(n) - max(z, 0) * math.sqrt(n / 12)) >= POWER),
            None,
        )
        for z in ends
    ]
    found = needed(differences, 12, family)
    assert [found.low, found.high] == expected
    assert found.low is not None


def test_more_candidates_and_lost_seeds_need_more() -> None:
    differences = list(np.random.default_rng(2).normal(0.3, 1, 12))
    alone, among, fewer = needed(differences, 12), needed(differences, 12, 7), needed(differences, 12, kept=0.5)
    assert alone.low is not None
    assert among.low is not None
    assert among.low > alone.low
    assert fewer.low == 2 * alone.low


def test_no_difference_has_no_upper_end() -> None:
    assert needed([0.0] * 12, 12).high is None
    assert needed([1.0, -1.0] * 6, 12).high is None


def test_the_range_has_the_seeds_that_are_truly_needed() -> None:
    """An effect that a plain test finds with 282 pairs, after 12 that decide nothing: in 80 % of them at least."""
    effect, rng = 2.8016 / math.sqrt(282), np.random.default_rng(11)
    z = effect * math.sqrt(12)
    truth = next(
        count
        for count in looks(12)
        if count > 12
        and scipy.stats.norm.sf(scipy.stats.norm.isf(level(count, 12) / 2) - z * math.sqrt(count / 12)) >= POWER
    )
    draws = rng.normal(effect * math.sqrt(math.pi / 3), 1, (400, 12))
    ties = [row for row in draws if abs(z_score(row)) < scipy.stats.norm.isf(level(12, 12) / 2)]
    inside = [(found.low or INF) <= truth <= (found.high or INF) for found in (needed(row, 12) for row in ties)]
    assert np.mean(inside) >= 0.8
    assert len(set(inside)) == 2, "a range that has everything says nothing"


def test_what_is_settled_needs_no_seeds() -> None:
    assert paired(shifted(-0.05), REFERENCE).needed is None
    assert paired(shifted(0.0), REFERENCE).needed is None
    assert paired(list(SEEDS[:12] + 8 * WOBBLE[:12]), REFERENCE).needed is not None


# ---- in words --------------------------------------------------------------------------------------------------------


def said(own: Sequence[float], other: Sequence[float] = REFERENCE) -> str:
    return claim(paired(own, other), "validation loss", "at 1,000 iterations")


def test_what_is_better_is_called_so_with_its_interval_and_p() -> None:
    found = paired(shifted(-0.05), REFERENCE)
    middle, low, high = (-100 * share for share in found.relative)
    assert said(shifted(-0.05)) == (
        f"a is typically {middle:.1f} % better than b in validation loss (95 % interval {high:.1f} … {low:.1f} %, "
        f"12 seeds; p {found.p_corrected:.2g}, settled at 8), at 1,000 iterations"
    )


def test_every_verdict_has_its_words() -> None:
    assert said(shifted(0.05)).startswith("a is typically 2.6 % worse than b in validation loss (95 % interval 2.5 …")
    assert said(shifted(0.0)).startswith("a equals b within 0.5 % in validation loss: typically ")
    assert " of a larger difference" in said(shifted(0.0)), "not the p of no difference, which stands in the table"
    assert said(list(SEEDS[:12] + 8 * WOBBLE[:12])).startswith(
        "a and b are not told apart in validation loss: typically "
    )
    mixed = said(shifted(-0.05, lost=1))
    assert mixed.startswith("a is not called better than b in validation loss: typically it is 2.")
    assert "but less reliable" in mixed
    assert mixed.endswith("; a diverged in 1 of 12 runs")
    equal = said(shifted(0.0, 24, lost=1), list(SEEDS))
    assert equal.startswith("a is not called equal to b in validation loss: typically it is equal within 0.5 % (")
    more = said(shifted(0.05), [*REFERENCE[:11], INF])
    assert "but more reliable" in more
    assert more.endswith("; b diverged in 1 of 12 runs")


def test_runs_that_diverged_are_always_said() -> None:
    for lost in (1, 3, 11):
        told = f"a diverged in {lost} of 12 runs"
        assert told in said(shifted(0.0, lost=lost))
        assert told.replace("a d", "b d") in said(shifted(0.0), [*REFERENCE[: 12 - lost], *[INF] * lost])
    p = paired(shifted(0.0, lost=11), REFERENCE).p_corrected
    assert said(shifted(0.0, lost=11)) == (
        f"a is typically worse than b in validation loss (12 seeds; p {p:.2g}, settled at 8), at 1,000 iterations; "
        "a diverged in 11 of 12 runs"
    )
    assert "a diverged in all 12 runs; b diverged in all 12 runs" in said([INF] * 12, [INF] * 12)


def test_an_open_interval_is_said_to_be_open() -> None:
    assert "% … unbounded" in said(shifted(0.01, lost=3)) or "… unbounded, 12 seeds" in said(shifted(0.01, lost=3))
    assert "inf" not in said(shifted(0.01, lost=3))
    assert "nan" not in said([INF] * 12, [INF] * 12)


def test_other_programs_get_plain_numbers() -> None:
    for found in (paired(shifted(0.0, lost=11), REFERENCE), paired([INF] * 12, [INF] * 12)):
        told = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert told["n"] == 12
        assert told["verdict"] == found.verdict
        assert told["typical"]["high"] is None or math.isfinite(told["typical"]["high"])


def test_what_was_settled_and_has_turned_since_is_told_as_both() -> None:
    own = [*shifted(-0.03, 12), *(each + 0.06 for each in shifted(0, 24)[12:]), *(SEEDS[:6] + 0.08)]
    found = paired(own, [*SEEDS, *SEEDS[:6]], planned=12)
    assert (found.verdict, found.settled.at, found.typical.value > 0) == ("better", 8, True)
    told = claim(found, "loss", "here")
    assert told.startswith("a is better than b in loss, though of all seeds it is +1.")
    assert "settled at 8" in told


def test_a_reference_that_was_chosen_after_a_look_is_corrected_for_all_that_could_have_been() -> None:
    """Of equal candidates the best and the worst differ by chance, and they are found to too often else."""
    rng = np.random.default_rng(7)
    false = 0
    for _ in range(60):
        runs: dict[str, Runs] = {str(k): dict(enumerate(map(float, rng.normal(2.0, 0.03, 12)))) for k in range(7)}
        best = min(runs, key=lambda name: float(np.median(list(runs[name].values()))))
        late = compare(runs, best, 12, beside=combinations(runs, 2))
        first = compare(runs, best, 12)
        assert [a.p_corrected >= b.p_corrected for a, b in zip(late, first, strict=True)] == [True] * 6
        false += any(each.settled.sign for each in late)
    assert false <= 4


def test_an_interval_that_is_wider_than_the_margin_is_no_contradiction_to_equal() -> None:
    """One of six pairs is a little above the margin."""
    own = [
        loss * (1 + share / 100) for loss, share in zip([2.0] * 6, [-0.58, -0.26, -0.03, 0.59, 0.0, 0.09], strict=True)
    ]
    runs: dict[str, Runs] = {"a": dict(enumerate(own)), "b": dict(enumerate([2.0] * 6))}
    (found,) = compare(runs, "b", 6)
    assert found.verdict == "equal"
    assert claim(found, "validation loss", "here").endswith(
        ", here; the interval may be wider than that, as each side is tested by itself"
    )
