"""Mean differences in pairs, by sign flips: how contenders of an agents' contest compare on the same instances.

A training that diverged has a finite loss there, the cap, so that the mean holds what diverging costs. Confirmations
are compared otherwise: see `comparison`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tunemax.search.question.counting import counted
from tunemax.search.results.statistics import ALPHA, Estimate, estimate, percent_digits, signed

EXACT = 16
"""Up to so many pairs all signs are tried; above, DRAWS random ones."""
DRAWS = 100_000


@dataclass(frozen=True)
class MeanComparison:
    """A contender beside the reference, paired by instance."""

    name: str
    reference: str
    n: int
    """Pairs."""
    difference: Estimate
    """Contender minus reference."""
    relative: tuple[float, float, float]
    """Mean difference and its interval as shares of the reference's mean."""
    p: float
    """Of two-sided random signs."""
    p_holm: float
    """Corrected for all comparisons with this reference."""
    superiority: float
    """P(contender < reference), over all pairs of one run of each; a tie counts half."""
    correlation: float
    """Of the pairs (Pearson's). NaN if one side does not vary."""
    effect: float
    """The mean difference in units of the seeds' standard deviation, the pooled one of both sides."""
    verdict: str
    """better, worse, or tie."""


def compare_means(losses: Mapping[str, Mapping[int, float]], reference: str) -> list[MeanComparison]:
    """Each contender beside the reference, over the instances that both have; those with fewer than two are left out.

    losses: contender → instance → loss.

    Raises KeyError if the reference is not among them.
    """
    others = [_paired(name, reference, own, losses[reference]) for name, own in losses.items() if name != reference]
    compared = [comparison for comparison in others if comparison]
    corrected = holm([comparison.p for comparison in compared])
    return [_judged(one, p) for one, p in zip(compared, corrected, strict=True)]


def _paired(name: str, reference: str, own: Mapping[int, float], other: Mapping[int, float]) -> MeanComparison | None:
    """A comparison by itself, not yet corrected for others beside it."""
    instances = sorted(own.keys() & other.keys())
    a, b = np.array([own[each] for each in instances]), np.array([other[each] for each in instances])
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
    return MeanComparison(
        name=name,
        reference=reference,
        n=len(instances),
        difference=difference,
        relative=(difference.mean / base, difference.low / base, difference.high / base),
        p=sign_flip([float(value) for value in a - b]),
        p_holm=math.nan,
        superiority=float(np.mean(above < 0) + np.mean(above == 0) / 2),
        correlation=float(np.corrcoef(a, b)[0, 1]) if varied else math.nan,
        effect=effect,
        verdict="tie",
    )


def _judged(one: MeanComparison, p: float) -> MeanComparison:
    """A comparison with its verdict. p: corrected for the family."""
    verdict = "tie" if p >= ALPHA else "better" if one.difference.mean < 0 else "worse"
    return replace(one, p_holm=p, verdict=verdict)


def claim(versus: MeanComparison, metric: str, where: str) -> str:
    """How a contender compares with the reference, without a full stop.

    metric: what is compared; lower is better. where: at what size, on what text.
    """
    mean, within, digits = _extent(versus)
    if versus.verdict != "tie":
        than = f"{versus.verdict} than {versus.reference} in {metric}"
        return f"{versus.name} is {mean:z.{digits}f} % {than} ({within}), {where}"
    tie = f"{versus.name} and {versus.reference} tie in {metric}: {signed(mean, digits)} % ({within}), {where}"
    if versus.difference.low > 0 or versus.difference.high < 0:
        tie += f"; the interval by itself leaves 0 out, but p is {versus.p_holm:.2g}"
    return tie


def _extent(versus: MeanComparison) -> tuple[float, str, int]:
    """The difference in percent of the reference, without its sign unless it is a tie; its interval; its digits."""
    sign = -1 if versus.verdict == "better" else 1
    digits = percent_digits(*versus.relative[1:])
    mean, low, high = (100 * sign * part for part in versus.relative)
    low, high = min(low, high), max(low, high)
    return mean, f"95 % interval {low:z.{digits}f} … {high:z.{digits}f} %, {counted(versus.n, 'instance')}", digits


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
    return f"{counted(n, 'instance')} can never show a difference{among} ({least}); {enough} or more could."
