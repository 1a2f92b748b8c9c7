"""A candidate beside the reference, on the same seeds: the typical difference, reliability, and how sure both are.

Everything that tunemax says about a confirmed difference comes from here, its words too: a loss, and what is undecided,
are said as plainly as a win. Losses are compared in pairs by seed: a seed decides the initial values and the order of
the data of both sides, so its luck is in both and leaves the difference. Lower is better. All seeds count that both
sides have ended: a run that diverged is worse than any that did not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tunemax.search.question.counting import counted
from tunemax.search.question.stages import MARGIN
from tunemax.search.results.reliability import Reliability, reliability
from tunemax.search.results.seeds import Needed, needed
from tunemax.search.results.sequential import Pairs, Settled, scale, settle
from tunemax.search.results.signed_rank import LEAST, Typical, two_sided, typical
from tunemax.search.results.statistics import Estimate, estimate, finite, percent_digits, signed

Verdict = Literal["better", "worse", "equal", "undecided", "mixed"]
Runs = Mapping[int, float | None]
"""Seed → loss; inf if the run diverged, None while it waits or runs. A seed whose run has failed is not in it."""


@dataclass(frozen=True)
class Comparison:
    """A candidate beside the reference, paired by seed."""

    name: str
    reference: str
    seeds: tuple[int, ...]
    """Those that both sides have ended."""
    typical: Typical
    """Candidate minus reference, in nats a token, of all these seeds."""
    scale: float
    """The reference's typical loss, of its runs that did not diverge; NaN if all did."""
    margin: float
    """A difference below this share of `scale` is equal."""
    p: float
    """Of no difference, of these seeds by themselves (Wilcoxon's signed-rank test, two-sided)."""
    settled: Settled
    """What the sequential test says, for all candidates together."""
    reliability: Reliability
    difference: Estimate | None
    """The mean difference of the seeds on which neither side diverged; None for fewer than two."""
    superiority: float
    """P(candidate < reference), over all pairs of one run of each; a tie counts half."""
    correlation: float
    """Of the pairs in which neither side diverged (Pearson's). NaN if one side does not vary."""
    effect: float
    """The mean difference in units of the seeds' standard deviation, the pooled one of both sides. NaN without one."""
    needed: Needed | None
    """Seeds that would show such a difference; None if there is a verdict."""

    @property
    def n(self) -> int:
        """Seeds that both sides have ended."""
        return len(self.seeds)

    @property
    def relative(self) -> tuple[float, float, float]:
        """The typical difference and its interval as shares of the reference's typical loss; infinite ones, and 0,
        as they are."""
        value, low, high = (
            each / self.scale if each and math.isfinite(each) else each
            for each in (self.typical.value, self.typical.low, self.typical.high)
        )
        return value, low, high

    @property
    def p_corrected(self) -> float:
        """Of no difference, corrected for all candidates and looks."""
        return self.settled.p

    @property
    def typically(self) -> Literal["better", "worse", "equal", "undecided"]:
        """How the typical losses compare, whatever is lost beside."""
        if self.settled.sign:
            return "better" if self.settled.sign < 0 else "worse"
        return "undecided" if self.settled.equal_at is None else "equal"

    @property
    def verdict(self) -> Verdict:
        """`typically`; *mixed* if what is typically better, or equal, is lost more often, or the other way round."""
        against = {
            "better": self.reliability.less,
            "worse": self.reliability.greater,
            "equal": self.reliability.less or self.reliability.greater,
        }
        return "mixed" if against.get(self.typically) else self.typically

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not finite is None."""
        derived = {key: getattr(self, key) for key in ("n", "relative", "p_corrected", "typically", "verdict")}
        found: dict[str, Any] = finite(asdict(self) | derived)
        return found


def compare(
    runs: Mapping[str, Runs],
    reference: str,
    planned: int,
    margin: float = MARGIN,
    beside: Iterable[tuple[str, str]] = (),
) -> list[Comparison]:
    """Each candidate beside the reference, over the seeds that both have ended; those with fewer than two are left out.

    runs: by candidate. planned: the number of seeds that was planned before the first run. margin: what differs by
    less than this share of the reference's typical loss is equal. beside: other pairs of candidates that might
    have been compared, and count in the family.

    Seeds that are still to come are waited for in order by what is settled, so that it does not depend on which of
    them ends first; all other numbers are of what there is. Raises KeyError if the reference is not among them.
    """
    other, others = runs[reference], {name: own for name, own in runs.items() if name != reference}
    in_order = {name: _pairs(own, other, _prefix(own, other)) for name, own in others.items()}
    more = [(a, b) for a, b in beside if reference not in (a, b)]
    family = {f"{a} / {b}": _pairs(runs[a], runs[b], _prefix(runs[a], runs[b])) for a, b in more}
    settled = settle(family | in_order, planned, margin)
    compared = []
    for name, own in others.items():
        seeds = _ended(own, other)
        if len(seeds) > 1:
            pairs, sure = _pairs(own, other, seeds), settled[name]
            theirs = sum(seed <= max(own) for seed in other)  # it may have been given more seeds
            kept = len(_common(own, other)) / max(len(own), theirs)
            open_ = not (sure.sign or sure.equal_at)
            range_ = needed(pairs.differences, planned, len(family | in_order), kept) if open_ else None
            compared.append(_compared(name, reference, seeds, pairs, margin, sure, range_))
    return compared


def _compared(
    name: str,
    reference: str,
    seeds: tuple[int, ...],
    pairs: Pairs,
    margin: float,
    settled: Settled,
    more: Needed | None,
) -> Comparison:
    own, other = np.array(pairs.own), np.array(pairs.other)
    both = np.isfinite(own) & np.isfinite(other)
    a, b = own[both], other[both]
    difference = estimate([float(value) for value in a - b])
    varied = len(a) > 1 and np.ptp(a) > 0 and np.ptp(b) > 0
    base = scale(pairs.other)
    return Comparison(
        name=name,
        reference=reference,
        seeds=seeds,
        typical=typical(pairs.differences),
        scale=base,
        margin=margin,
        p=two_sided(pairs.differences),
        settled=settled,
        reliability=reliability(pairs.own, pairs.other, margin * base if math.isfinite(base) else 0.0),
        difference=difference,
        superiority=float(np.mean((own[:, None] < other) + (own[:, None] == other) / 2)),
        correlation=float(np.corrcoef(a, b)[0, 1]) if varied else math.nan,
        effect=_effect(difference.mean, a, b) if difference else math.nan,
        needed=more,
    )


def _effect(mean: float, own: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    pooled = math.sqrt((float(own.var(ddof=1)) + float(other.var(ddof=1))) / 2)
    if pooled:
        return mean / pooled
    return math.copysign(math.inf, mean) if mean else 0.0


def _common(own: Runs, other: Runs) -> list[int]:
    """Seeds that will make a pair, in order."""
    return sorted(own.keys() & other.keys())


def _ended(own: Runs, other: Runs) -> tuple[int, ...]:
    return tuple(seed for seed in _common(own, other) if own[seed] is not None and other[seed] is not None)


def _prefix(own: Runs, other: Runs) -> tuple[int, ...]:
    """Seeds that both have ended, up to the first that one of them has not."""
    common, ended = _common(own, other), set(_ended(own, other))
    waiting = next((place for place, seed in enumerate(common) if seed not in ended), len(common))
    return tuple(common[:waiting])


def _pairs(own: Runs, other: Runs, seeds: tuple[int, ...]) -> Pairs:
    losses = [(own[seed], other[seed]) for seed in seeds]
    ended = [(a, b) for a, b in losses if a is not None and b is not None]
    return Pairs(tuple(a for a, _ in ended), tuple(b for _, b in ended))


# ---- in words --------------------------------------------------------------------------------------------------------


def claim(versus: Comparison, metric: str, where: str) -> str:
    """How a candidate compares with the reference, without a full stop.

    metric: what is compared. where: at what size, on what text; may be empty.
    """
    name, reference, verdict = versus.name, versus.reference, versus.verdict
    extent, within = _extent(versus), f"within {percent(versus.margin)}"
    place = f", {where}" if where else ""
    lost = [*versus.reliability.own.sentences(name), *versus.reliability.other.sentences(reference)]
    if verdict == "mixed":
        weaker = "less" if versus.reliability.less else "more"
        not_called = "" if versus.typically == "equal" else f"{versus.typically} than "
        alike = f"equal {within}" if versus.typically == "equal" else f"{_amount(versus)}{versus.typically}"
        sentence = f"{name} is not called {not_called or 'equal to '}{reference} in {metric}: "
        sentence += f"typically it is {alike} ({extent}), but {weaker} reliable{place}"
    elif verdict == "equal":
        sentence = f"{name} equals {reference} {within} in {metric}: typically {_signed(versus)} ({extent}){place}"
        if not -versus.margin <= versus.relative[1] <= versus.relative[2] <= versus.margin:
            sentence += "; the interval may be wider than that, as each side is tested by itself"
    elif verdict == "undecided" and versus.n < LEAST:
        few = f"since {counted(versus.n, 'seed')} are too few to say: {LEAST} or more may"
        sentence = (
            f"{name} and {reference} are not told apart in {metric}, {few}; so far typically {_signed(versus)}{place}"
        )
    elif verdict == "undecided":
        sentence = (
            f"{name} and {reference} are not told apart in {metric}: typically {_signed(versus)} ({extent}){place}"
        )
        if versus.typical.low > 0 or versus.typical.high < 0:
            sentence += "; the interval by itself leaves 0 out, p counts all candidates and looks"
    elif _turned(versus):
        all_ = f"of all seeds it is {_signed(versus)}"
        sentence = f"{name} is {verdict} than {reference} in {metric}, though {all_} ({extent}){place}"
    else:
        sentence = f"{name} is typically {_amount(versus)}{verdict} than {reference} in {metric} ({extent}){place}"
        if versus.settled.equal_at is not None:
            sentence += f"; that is equal {within}"
    return "; ".join([sentence, *lost])


def _turned(versus: Comparison) -> bool:
    """Whether all seeds together point to the other side than those of the look that has settled it."""
    return versus.settled.sign * versus.typical.value < 0


def percent(share: float, digits: int | None = None) -> str:
    """``0.5 %``; without a bound where it is infinite. digits: behind the point; None: as many as it has."""
    if not math.isfinite(share):
        return "unbounded"
    return f"{100 * share:g} %" if digits is None else f"{100 * share:z.{digits}f} %"


def _amount(versus: Comparison) -> str:
    """How much better or worse, in percent with a space behind; empty if it cannot be said."""
    value = versus.relative[0]
    sign = -1 if versus.typically == "better" else 1
    return f"{percent(sign * value, _digits(versus))} " if math.isfinite(value) else ""


def _signed(versus: Comparison) -> str:
    value = versus.relative[0]
    if not math.isfinite(value):
        return f"{'worse' if value > 0 else 'better'}, since runs diverged"
    return f"{signed(100 * value, _digits(versus))} %"


def _digits(versus: Comparison) -> int:
    finite = [share for share in versus.relative if math.isfinite(share)] or [1.0]
    return percent_digits(min(finite), max(finite))


def _extent(versus: Comparison) -> str:
    """Interval, seeds, p, and at which look it was settled."""
    sign, digits = -1 if versus.typically == "better" and not _turned(versus) else 1, _digits(versus)
    low, high = sorted(sign * share for share in versus.relative[1:])
    ends = (f"{100 * low:z.{digits}f}" if math.isfinite(low) else "unbounded", percent(high, digits))
    interval = f"95 % interval {ends[0]} … {ends[1]}, " if math.isfinite(low) or math.isfinite(high) else ""
    equal = versus.typically == "equal"
    p, at = (versus.settled.p_equal, versus.settled.equal_at) if equal else (versus.settled.p, versus.settled.at)
    settled = f", settled at {at}" if at is not None and at < versus.n else ""
    of = " of a larger difference" if equal else ""
    return f"{interval}{counted(versus.n, 'seed')}; p {p:.2g}{of}{settled}"
