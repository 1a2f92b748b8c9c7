"""The statistics of a claim: intervals, paired comparisons, and how sure one may be.

Everything that tunemax says about a difference comes from here, its words too: a loss and a tie are said as plainly as
a win. Losses are compared in pairs by seed: a seed decides the initial values and the order of the data of both sides,
so its luck is in both and leaves the difference. Lower is better.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
"""A difference is called one if its corrected p is below this."""
LOOK = 4
"""By so much p is multiplied for each look beyond the first."""
POWER = 0.8
MANY = 30
"""From so many values on an interval is BCa's, below t's: there BCa's 95 % cover less (92.7 % at 12)."""
EXACT = 16
"""Up to so many pairs all signs are tried; above, DRAWS random ones."""
DRAWS = 100_000
MOST = 10_000
"""Seeds above which nobody would ask."""
BOOTSTRAP = 2000
"""Resamples for an interval."""


@dataclass(frozen=True)
class Estimate:
    """A mean, or another statistic, with its 95 % interval. sd: of the values. method: t, BCa or bootstrap."""

    n: int
    mean: float
    low: float
    high: float
    sd: float
    method: str


@dataclass(frozen=True)
class Share:
    """So many of n, as a share with its 95 % interval (Wilson's)."""

    count: int
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A candidate beside the reference, paired by seed."""

    name: str
    reference: str
    n: int
    """Pairs."""
    difference: Estimate
    """Candidate minus reference."""
    relative: tuple[float, float, float]
    """Mean difference and its interval as shares of the reference's mean."""
    p: float
    """Of two-sided random signs."""
    p_holm: float
    """Corrected for all comparisons with this reference, and for looking several times."""
    p_least: float
    """The smallest corrected p that so many pairs can have."""
    superiority: float
    """P(candidate < reference), over all pairs of one run of each; a tie counts half."""
    correlation: float
    """Of the pairs (Pearson's). NaN if one side does not vary."""
    effect: float
    """The mean difference in units of the seeds' standard deviation, the pooled one of both sides."""
    verdict: str
    """better, worse, or tie."""
    seeds_needed: int | None
    """Pairs that would show a difference of this size; None if more than MOST."""


def estimate(values: Sequence[float]) -> Estimate | None:
    """The mean of at least two values; None for fewer.

    The interval is Student's t, from MANY values on the BCa bootstrap's.
    """
    if len(values) < 2:
        return None
    given = np.sort(np.asarray(values, float))  # in whatever order they come, the same draws
    mean, sd = float(given.mean()), float(given.std(ddof=1))
    if np.ptp(given) <= 1e-12 * np.abs(given).max():
        return Estimate(len(given), mean, mean, mean, 0.0, "t" if len(given) < MANY else "BCa")
    if len(given) < MANY:
        from scipy.stats import t

        half = float(t.ppf(1 - ALPHA / 2, len(given) - 1)) * sd / math.sqrt(len(given))
        return Estimate(len(given), mean, mean - half, mean + half, sd, "t")
    from scipy.stats import bootstrap

    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        # Of data so degenerate that the acceleration is not defined; the interval is then NaN
        warnings.simplefilter("ignore")
        drawn = bootstrap((given,), np.mean, confidence_level=CONFIDENCE, method="BCa", rng=rng).confidence_interval
    return Estimate(len(given), mean, float(drawn.low), float(drawn.high), sd, "BCa")


def interquartile_mean(grid: Array) -> Array:
    """The mean of the middle half of all values, over the last two axes: (…,) of (…, runs, instances)."""
    flat = np.sort(grid.reshape(*grid.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    found: Array = flat[..., cut : flat.shape[-1] - cut].mean(axis=-1)
    return found


def over_grid(grid: Array, of: Callable[[Array], Array]) -> Estimate:
    """A statistic of some runs on the same instances, with its 95 % interval by the percentile bootstrap.

    grid: (runs, instances), runs being seeds of one agent. of: takes (…, runs, instances) to (…,). Runs and instances
    are both drawn anew, so the interval is about other seeds and other instances; of a single run it is about other
    instances only.
    """
    rng = np.random.default_rng(0)
    runs, instances = grid.shape
    rows = rng.integers(0, runs, (BOOTSTRAP, runs, 1))
    columns = rng.integers(0, instances, (BOOTSTRAP, 1, instances))
    low, high = np.quantile(of(grid[rows, columns]), (ALPHA / 2, 1 - ALPHA / 2))
    sd = float(grid.std(ddof=1)) if grid.size > 1 else 0.0
    return Estimate(grid.size, float(of(grid)), float(low), float(high), sd, "bootstrap")


def improvement(own: Array, other: Array) -> Estimate:
    """P(own < other) on an instance; a tie counts half. own: (runs, instances); other: (instances,)."""
    ahead = (own < other) + 0.5 * (own == other)
    return over_grid(ahead, lambda grid: grid.mean(axis=(-2, -1)))


def share(count: int, n: int) -> Share:
    """So many of n, with Wilson's interval; 0 to 1 if n is 0."""
    if n == 0:
        return Share(0, 0, 0.0, 1.0)
    from scipy.stats import binomtest

    found = binomtest(count, n).proportion_ci(CONFIDENCE, method="wilson")
    return Share(count, n, float(found.low), float(found.high))


def sign_flip(differences: Sequence[float]) -> float:
    """The share of random signs under which the mean of the differences is at least as far from zero: a two-sided p.

    Exact for up to EXACT differences, from all 2^n signs; else from DRAWS random ones, the given signs counted among
    them.
    """
    given = np.sort(np.abs(np.asarray(differences, float)))
    seen = abs(float(np.sum(differences)))
    near = 1e-9 * float(given.sum())
    if seen <= near:
        return 1.0
    n = len(given)
    if n <= EXACT:
        sums = np.zeros(1)
        for size in given:
            sums = np.concatenate((sums + size, sums - size))
        return float(np.mean(np.abs(sums) >= seen - near))
    rng, hits = np.random.default_rng(0), 0
    for _ in range(DRAWS // 1000):
        signs = rng.integers(0, 2, (1000, n)) * 2 - 1
        hits += int(np.sum(np.abs(signs @ given) >= seen - near))
    return (hits + 1) / (DRAWS + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's correction of several p, in the order given: the smallest times their number, the next one less, …"""
    corrected, so_far = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        so_far = max(so_far, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = so_far
    return corrected


def least_p(n: int, family: int = 1) -> float:
    """The smallest p that n pairs can have by sign flips, corrected for the smallest of a family of comparisons."""
    return min(1.0, family * (2.0 ** (1 - n) if n <= EXACT else 1 / (DRAWS + 1)))


def separable_note(n: int, family: int = 1) -> str | None:
    """What to say of so few seeds that no difference could ever be shown; None if they are enough."""
    if least_p(n, family) < ALPHA:
        return None
    enough = next(count for count in range(n, 60) if least_p(count, family) < ALPHA)
    among = f" among {family} comparisons" if family > 1 else ""
    least = f"smallest p {least_p(n, family):.2g}"
    return f"{n} seeds can never show a difference{among} ({least}); {enough} or more could."


def seeds_for(difference: float, sd: float, family: int = 1) -> int | None:
    """Pairs with which a difference of this size is found with a power of 80 %; None for more than MOST, or a
    difference of 0.

    sd: of the paired differences. family: comparisons that are made; the strictest step of Holm's correction is planned
    for. Paired t test, two-sided; never fewer than sign flips need.
    """
    least = next(n for n in range(2, 60) if least_p(n, family) < ALPHA)
    if difference == 0:
        return None
    if sd == 0:
        return least
    low, high = least, MOST
    if _power(high, abs(difference) / sd, family) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(middle, abs(difference) / sd, family) >= POWER else (middle + 1, high)
    return low


def _power(n: int, effect: float, family: int) -> float:
    from scipy.stats import nct, norm, t

    edge, shift = float(t.ppf(1 - ALPHA / family / 2, n - 1)), effect * math.sqrt(n)
    found = float(nct.sf(edge, n - 1, shift))
    return found if math.isfinite(found) else float(norm.sf(edge - shift))


def compare(losses: Mapping[str, Mapping[int, float]], reference: str, looks: int = 1) -> list[Comparison]:
    """Each candidate beside the reference, over the seeds that both have; those with fewer than two are left out.

    losses: candidate → seed → loss. looks: how often a verdict was to be had, this time included. Who adds seeds until
    a difference shows has as many chances to be fooled, so each further look multiplies p by LOOK: looks at 12, 24, 48
    and 96 pairs then find a difference where there is none in 6 % of cases instead of 15 % (simulated).

    Raises KeyError if the reference is not among them.
    """
    others = [_paired(name, reference, own, losses[reference]) for name, own in losses.items() if name != reference]
    compared = [comparison for comparison in others if comparison]
    corrected = holm([comparison.p for comparison in compared])
    return [_judged(one, p, len(compared), looks) for one, p in zip(compared, corrected, strict=True)]


def _paired(name: str, reference: str, own: Mapping[int, float], other: Mapping[int, float]) -> Comparison | None:
    """A comparison by itself, not yet corrected for others beside it."""
    seeds = sorted(own.keys() & other.keys())
    a, b = np.array([own[seed] for seed in seeds]), np.array([other[seed] for seed in seeds])
    difference = estimate([float(value) for value in a - b])
    if difference is None:
        return None
    base = float(b.mean())
    pooled = math.sqrt((float(a.var(ddof=1)) + float(b.var(ddof=1))) / 2)
    effect = math.copysign(math.inf, difference.mean) if difference.mean else 0.0
    if pooled:
        effect = difference.mean / pooled
    varied = np.ptp(a) > 0 and np.ptp(b) > 0
    above = a[:, None] - b[None, :]
    return Comparison(
        name=name,
        reference=reference,
        n=len(seeds),
        difference=difference,
        relative=(difference.mean / base, difference.low / base, difference.high / base),
        p=sign_flip([float(value) for value in a - b]),
        p_holm=math.nan,
        p_least=math.nan,
        superiority=float(np.mean(above < 0) + np.mean(above == 0) / 2),
        correlation=float(np.corrcoef(a, b)[0, 1]) if varied else math.nan,
        effect=effect,
        verdict="tie",
        seeds_needed=None,
    )


def _judged(one: Comparison, p: float, family: int, looks: int) -> Comparison:
    """A comparison with its verdict. p: corrected for the family; more seeds would be one look more."""
    p = min(1.0, p * LOOK ** (looks - 1))
    verdict = "tie" if p >= ALPHA else "better" if one.difference.mean < 0 else "worse"
    needed = seeds_for(one.difference.mean, one.difference.sd, family * LOOK**looks)
    least = least_p(one.n, family * LOOK ** (looks - 1))
    return replace(one, p_holm=p, p_least=least, verdict=verdict, seeds_needed=needed)


def claim(versus: Comparison, metric: str, pairs: str, where: str) -> str:
    """How a candidate compares with the reference, without a full stop.

    metric: what is compared; lower is better. pairs: what the pairs are (seeds, instances). where: at what size, on
    what text.
    """
    mean, within, digits = extent(versus, pairs)
    if versus.verdict != "tie":
        than = f"{versus.verdict} than {versus.reference} in {metric}"
        return f"{versus.name} is {mean:.{digits}f} % {than} ({within}), {where}"
    tie = f"{versus.name} and {versus.reference} tie in {metric}: {mean:+.{digits}f} % ({within}), {where}"
    if versus.difference.low > 0 or versus.difference.high < 0:
        tie += f"; the interval by itself leaves 0 out, but p is {versus.p_holm:.2g}"
    return tie


def extent(versus: Comparison, pairs: str) -> tuple[float, str, int]:
    """The difference in percent of the reference, without its sign unless it is a tie; its interval; its digits."""
    sign = -1 if versus.verdict == "better" else 1
    digits = percent_digits(*versus.relative[1:])
    mean, low, high = (100 * sign * part for part in versus.relative)
    low, high = min(low, high), max(low, high)
    return mean, f"95 % interval {low:.{digits}f} … {high:.{digits}f} %, {versus.n} {pairs}", digits


def percent_digits(low: float, high: float) -> int:
    """Digits behind the point of a share in percent, by the ends of its interval: two where all is below 1 %."""
    return 1 if max(abs(100 * low), abs(100 * high)) >= 1 else 2
