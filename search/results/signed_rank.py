"""The typical difference of pairs: pseudomedian, its exact interval, and Wilcoxon's signed-rank test.

Losses of equal seeds differ in spikes: a run that ends in a bad mode moves the mean of twelve differences by more than
what they differ in, and a run that diverged has no loss at all. The pseudomedian (the median of the means of all pairs
of differences, each with itself too) moves with the bulk of the pairs, and its test needs only their order. So a
diverged run can be what it is, worse than any finite one: a difference of +inf for the candidate, -inf for the
reference, 0 where both diverged.

Sources: Wilcoxon 1945; Hodges & Lehmann 1963; Pratt 1959 (zeros keep their ranks); Hollander, Wolfe & Chicken,
Nonparametric Statistical Methods, 3.1-3.3 (exact distribution with ties, interval).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

NORMAL = NormalDist()
EXACT = 200
"""Up to so many pairs the distribution of the statistic is exact; above, the normal one with the variance of ties."""
DIGITS = 12
"""Differences, as shares of the largest, are ties if they are equal in so many digits: a subtraction leaves no more."""


@dataclass(frozen=True)
class Typical:
    """A pseudomedian and its 95 % interval, in the unit of the differences; any of them may be infinite."""

    value: float
    low: float
    high: float


def difference(own: float, other: float) -> float:
    """Of two losses, infinite where a run diverged: 0 if both did."""
    return 0.0 if own == other else own - other


def pseudomedian(values: Sequence[float]) -> float:
    """The median of the means of all pairs of values, each with itself too; +inf and -inf have the mean 0."""
    return _middle(_walsh(np.asarray(values, float)))


LEAST = 6
"""Differences from which on there is an interval: fewer leave every value possible."""


def typical(differences: Sequence[float], confidence: float = 0.95) -> Typical:
    """The pseudomedian of paired differences with its exact interval, from the order of the pairs' means.

    With fewer than LEAST differences the ends are infinite. The interval covers at least
    what it says for differences that lie evenly on both sides of their middle; docs/statistics.md has what it covers
    elsewhere.
    """
    sums = _walsh(np.asarray(differences, float))
    cut = _cut(len(differences), 1 - confidence)
    low, high = (float(sums[cut - 1]), float(sums[-cut])) if cut else (-math.inf, math.inf)
    return Typical(_middle(sums), low, high)


def one_sided(differences: Sequence[float], shift: float = 0.0) -> tuple[float, float]:
    """p of the signed-rank test that the typical difference is below `shift`, and of that it is above.

    Exact given the ranks: equal sizes share their mean rank, and zeros keep theirs and have no sign (Pratt). (1, 1)
    where every difference is `shift`.
    """
    positive, ranks, untied = _ranked(differences, shift)
    if not len(ranks):
        return 1.0, 1.0
    if len(differences) > EXACT:
        center, sd = _moments(ranks)
        return NORMAL.cdf((positive - center + 1) / sd), NORMAL.cdf((center - positive + 1) / sd)
    total = int(ranks.sum())
    # Signs are as likely as their opposites, so the upper tail is the lower one of what is left
    if untied:
        below, at, opposite = distribution(len(ranks)), positive // 2, (total - positive) // 2
    else:
        below, at, opposite = np.cumsum(_probabilities(ranks)), positive, total - positive
    return min(1.0, float(below[at])), min(1.0, float(below[opposite]))


def z_score(differences: Sequence[float]) -> float:
    """The signed-rank statistic in standard deviations from its mean, those of no difference; 0 if all are 0."""
    positive, ranks, _ = _ranked(differences, 0.0)
    center, sd = _moments(ranks)
    return (positive - center) / sd if len(ranks) else 0.0


def two_sided(differences: Sequence[float]) -> float:
    """p of the signed-rank test that the typical difference is 0."""
    return min(1.0, 2 * min(one_sided(differences)))


def _walsh(values: Array) -> Array:
    """The means of all pairs of values, each with itself too, in order."""
    rows, columns = np.triu_indices(len(values))
    return np.sort(_mean(values[rows], values[columns]))


def _middle(ordered: Array) -> float:
    """The median of values in order."""
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(_mean(np.array(low), np.array(high)))


def _mean(one: Array, other: Array) -> Array:
    """Half the sum; 0 of +inf and -inf."""
    opposite = np.isinf(one) & np.isinf(other) & (one != other)
    halves: Array = np.where(opposite, 0.0, one) / 2 + np.where(opposite, 0.0, other) / 2
    return halves


def _ranked(differences: Sequence[float], shift: float) -> tuple[int, Array, bool]:
    """Twice the sum of the ranks above `shift`; twice the rank of each difference that is not `shift`; whether no two
    are as far from it, and none is there."""
    shifted = np.asarray(differences, float) - shift
    sizes = np.abs(shifted)
    scale = max(float(sizes[np.isfinite(sizes)].max(initial=0.0)), abs(shift)) or 1.0
    ranks = _doubled_ranks(np.where(np.isfinite(sizes), np.round(sizes / scale, DIGITS), np.inf))
    signed = np.round(sizes / scale, DIGITS) > 0
    untied = bool(signed.all()) and len(np.unique(ranks)) == len(ranks)
    return int(ranks[signed & (shifted > 0)].sum()), ranks[signed], untied


def _moments(ranks: Array) -> tuple[float, float]:
    """Mean and standard deviation of the sum of those ranks whose sign is positive."""
    return float(ranks.sum()) / 2, math.sqrt(float(np.square(ranks.astype(float)).sum())) / 2


def _doubled_ranks(sizes: Array) -> Array:
    """Twice the rank of each size, from 2; equal ones share the mean of theirs, which is whole when doubled."""
    _, which, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (2 * last - counts + 1)[which]
    return ranks


def _probabilities(ranks: Array) -> Array:
    """Of each sum of those ranks whose sign is positive, all signs being as likely."""
    found = np.zeros(int(ranks.sum()) + 1)
    found[0], reached = 1.0, 0
    for rank in map(int, np.sort(ranks)):
        reached += rank
        found[: reached + 1] /= 2
        found[rank : reached + 1] += found[: reached + 1 - rank].copy()
    return found


@cache
def distribution(n: int) -> Array:
    """P(sum of the positive ranks ≤ t) for t = 0, 1, …, without ties and zeros."""
    return np.cumsum(_probabilities(np.arange(1, n + 1)))


@cache
def _cut(n: int, alpha: float) -> int:
    """The ends of an interval are so many means from the outermost; 0 if even all of them cover too little."""
    if n <= EXACT:
        return int(np.sum(distribution(n) <= alpha / 2 * (1 + 1e-12)))
    center, sd = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return max(0, math.floor(center - 0.5 + NORMAL.inv_cdf(alpha / 2) * sd) + 1)
