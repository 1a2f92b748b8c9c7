"""A difference between two methods whose runs are crossed with instances: how large it is, and how sure.

Every run of a method (a seed of an agent, a tuning of a baseline) meets the same instances, so a difference has three
causes beside the methods: which runs of the one there were, which of the other, and which instances. Who looks at
instances alone takes the luck of five seeds for a property of the algorithm. Here all three are random:

- the difference of two runs is the interquartile mean over the instances, of those on which neither diverged;
- the difference of two methods is the mean of that over all pairs of their runs;
- its variance is the sum of three, each as if one of the causes alone had been drawn anew; and its distribution is
  Student's, with degrees of freedom by Satterthwaite.

What is left of a single run on a single instance is counted along with each of the three, so the sum is never too
small. docs/statistics.md has how often this errs, by benchmarks/rl_verdict.py.

Sources: Satterthwaite 1946; Cornfield & Tukey 1956 (crossed random effects); Tukey & McLaughlin 1963 (variance and
degrees of freedom of a trimmed mean: Winsorised, and those of what is left).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tunemax.search.results.statistics import ALPHA, Array

Statistic = Callable[[Array], tuple[Array, Array, Array]]
CUT = 0.25
"""The share of instances that an interquartile mean leaves out at either end."""
ROUNDING = 1e-12
"""Log losses that differ by less are equal."""
POWER = 0.8
"""The chance with which a detectable difference is found."""


@dataclass(frozen=True)
class Crossed:
    """A value over runs and instances, with what it owes to each cause.

    variances: of the value, by cause: own runs, other runs, instances. free: degrees of freedom of each. runs: how many
    there were of either side. A cause with a single value has no variance: nothing is known of it.
    """

    value: float
    variances: tuple[float, float, float]
    free: tuple[float, float, float]
    runs: tuple[int, int]

    @property
    def error(self) -> float:
        """The standard error."""
        return math.sqrt(sum(self.variances))

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom; infinite where nothing varies."""
        return float(freedom(np.array(self.variances), np.array(self.free)))

    @property
    def p(self) -> float:
        """Two-sided, of a true value of 0."""
        return float(two_sided(np.array(self.value), np.array(self.variances), np.array(self.free)))

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """Covers the true value but for a share alpha: leaves 0 out if and only if p is below alpha."""
        half = self._half(1 - alpha / 2)
        return self.value - half, self.value + half

    def detectable(self, alpha: float = ALPHA) -> float:
        """The difference that is found at a level of alpha in POWER of all repeats."""
        return self._half(1 - alpha / 2) + self._half(POWER)

    def runs_for(self, half: float, alpha: float, most: int) -> int | None:
        """Runs of either side whose interval would reach so far to either side, on the same instances; None if `most`
        are not enough."""
        counts = range(max(2, *self.runs), most + 1)
        return next((runs for runs in counts if self._with(runs)._half(1 - alpha / 2) <= half), None)

    def _with(self, runs: int) -> Crossed:
        had, (own, other, instances) = self.runs, self.variances
        scaled = (own * had[0] / runs, other * had[1] / runs, instances)
        return Crossed(self.value, scaled, (runs - 1, runs - 1, self.free[2]), (runs, runs))

    def _half(self, share: float) -> float:
        """Of an interval: a quantile of Student's distribution, in standard errors."""
        from scipy.special import stdtrit

        return float(stdtrit(self.freedom, share)) * self.error if self.error else 0.0


def crossed(differences: Array) -> Crossed | None:
    """The typical difference: interquartile means over instances, averaged over pairs of runs.

    differences: (own runs, other runs, instances), NaN where one of the pair diverged. None if a pair has fewer than
    two instances.
    """
    return _summary(differences, interquartile)


def crossed_mean(values: Array) -> Crossed | None:
    """The same of plain means, such as those of shares."""
    return _summary(values, _plain)


def pairs(own: Array, other: Array) -> Array:
    """Differences of every pair of runs on every instance: (own runs, other runs, instances) of (runs, instances)."""
    found: Array = own[..., :, None, :] - other[..., None, :, :]
    return found


def _summary(values: Array, of: Statistic) -> Crossed | None:
    own, other, _ = values.shape
    if np.isfinite(values).sum(axis=-1).min() < 2:
        return None
    value, variances, free = moments(np.where(np.abs(values) < ROUNDING, 0.0, values), of)
    return Crossed(float(value), _three(variances), _three(free), (own, other))


def _three(numbers: Array) -> tuple[float, float, float]:
    one, two, three = (float(number) for number in numbers)
    return one, two, three


def moments(values: Array, of: Statistic) -> tuple[Array, Array, Array]:
    """Value, variances and degrees of freedom by cause: (…), (…, 3) and (…, 3) of (…, own runs, other runs, instances).

    of: the value of each pair of runs, how far each instance pulls it, and of how many it is: (…), (…, instances) and
    (…) of (…, instances).
    """
    own, other, n = values.shape[-3:]
    by_pair, pulls, kept = of(values)
    value: Array = by_pair.mean(axis=(-2, -1))
    instances = pulls.mean(axis=(-3, -2))
    left = kept.mean(axis=(-2, -1))
    variances = np.stack(
        [
            _variance(by_pair.mean(axis=-1)) / own,
            _variance(by_pair.mean(axis=-2)) / other,
            np.square(instances).sum(axis=-1) / (n * max(n - 1, 1)),
        ],
        axis=-1,
    )
    shape = value.shape
    free = np.stack([np.full(shape, own - 1.0), np.full(shape, other - 1.0), np.maximum(left - 1, 1)], axis=-1)
    return value, variances, free


def freedom(variances: Array, free: Array) -> Array:
    """Satterthwaite's degrees of freedom: (…) of (…, causes)."""
    shares = np.square(variances) / np.maximum(free, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.square(variances.sum(axis=-1)) / shares.sum(axis=-1)
    return np.where(variances.sum(axis=-1) > 0, found, np.inf)


def two_sided(value: Array, variances: Array, free: Array) -> Array:
    """p of a true value of 0: (…)."""
    from scipy.special import stdtr

    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = 2 * stdtr(freedom(variances, free), -np.abs(value) / np.sqrt(variances.sum(axis=-1)))
    return np.where(variances.sum(axis=-1) > 0, found, np.where(value == 0, 1.0, 0.0))


def interquartile(values: Array) -> tuple[Array, Array, Array]:
    """The mean of the middle half over the last axis, without NaN; how far each value pulls it, 0 for NaN; how many
    there are in the middle.

    The middle half has fractions of the values at its ends where they cannot be halved evenly.
    """
    ordered = np.sort(values, axis=-1)  # NaN last
    n, count = values.shape[-1], np.isfinite(values).sum(axis=-1, keepdims=True)
    cut, rank = CUT * count, np.arange(n)
    weights = np.clip(np.minimum(rank + 1, count - cut) - np.maximum(rank, cut), 0, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle: Array = np.where(weights > 0, ordered * weights, 0).sum(axis=-1) / weights.sum(axis=-1)
    first = np.minimum(cut.astype(int), n - 1)
    last = np.clip(np.ceil(count - cut).astype(int) - 1, 0, n - 1)
    low, high = np.take_along_axis(ordered, first, -1), np.take_along_axis(ordered, last, -1)
    held = np.clip(values, low, high)
    there = np.isfinite(held)
    centre = np.where(there, held, 0).sum(axis=-1, keepdims=True) / np.maximum(count, 1)
    pulls = np.where(there, (held - centre) / (1 - 2 * CUT) * n / np.maximum(count, 1), 0.0)
    return middle, pulls, (1 - 2 * CUT) * count[..., 0]


def _plain(values: Array) -> tuple[Array, Array, Array]:
    mean = values.mean(axis=-1, keepdims=True)
    return mean[..., 0], values - mean, np.full(values.shape[:-1], values.shape[-1])


def _variance(values: Array) -> Array:
    """Over the last axis; 0 of a single value."""
    if values.shape[-1] < 2:
        return np.zeros(values.shape[:-1])
    found: Array = values.var(axis=-1, ddof=1)
    return found
