"""How far two orders of the same things agree: Spearman's correlation, also of weighted pairs and with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunemax.search.results.statistics import ALPHA, BOOTSTRAP, Array

Pair = tuple[float, float, float]
"""Two losses of one training, and its weight: for how many it stands."""
LEAST_PAIRS = 8
"""Pairs from which on a correlation has an interval."""


@dataclass(frozen=True)
class Correlation:
    """Of n pairs; NaN if one side does not vary. low, high: its 95 % interval, NaN for too few pairs."""

    n: int
    value: float
    low: float = math.nan
    high: float = math.nan


def rank_correlation(groups: Sequence[Sequence[Pair]]) -> Correlation:
    """Spearman's correlation of weighted pairs, ranked within each group; its interval by the percentile bootstrap.

    A pair with a whole weight counts as so many equal ones. Ranks of a group run from 0 to 1, and are taken from its
    mean before groups are put together, so a difference between groups is no correlation. The bootstrap draws pairs
    anew within each group; below LEAST_PAIRS there are too few different draws, and no interval is given.
    """
    filled = [sorted(group) for group in groups if len(group) > 1]  # in whatever order they come, the same draws
    n = sum(map(len, filled))
    if not filled:
        return Correlation(0, math.nan)
    found = float(_spearman([(group, np.ones((1, len(group)))) for group in filled])[0])
    if n < LEAST_PAIRS or not math.isfinite(found):
        return Correlation(n, found)
    rng = np.random.default_rng(0)
    counts = [rng.multinomial(len(group), np.full(len(group), 1 / len(group)), BOOTSTRAP) for group in filled]
    drawn = _spearman(list(zip(filled, counts, strict=True)))
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, (ALPHA / 2, 1 - ALPHA / 2)) if len(drawn) > BOOTSTRAP / 2 else (math.nan, math.nan)
    return Correlation(n, found, float(low), float(high))


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's correlation of two orders of the same things; NaN for fewer than two, or if one side does not vary."""
    if len(a) < 2:
        return math.nan
    return float(spearman_rows(np.array([a], float), np.array([b], float))[0])


def spearman_rows(a: Array, b: Array) -> Array:
    """Spearman's correlation of each row of a, (R, n), with that row of b, (R,); NaN where one does not vary."""
    first, second = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in map(_row_ranks, (a, b)))
    size = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    found: Array = np.divide((first * second).sum(axis=1), size, out=np.full_like(size, math.nan), where=size > 0)
    return found


def _row_ranks(values: Array) -> Array:
    """How many of its row are below each value, and half of those at it: (R, n)."""
    one, other = values[:, :, None], values[:, None, :]  # (R, n, 1), (R, 1, n)
    ranks: Array = (other < one).sum(axis=2) + 0.5 * (other == one).sum(axis=2)
    return ranks


def _spearman(groups: Sequence[tuple[Sequence[Pair], Array]]) -> Array:
    """The correlation in each of R resamples, (R,). Beside each group: how often each of its pairs is drawn, (R, n)."""
    products: Array = np.zeros((3, 1))
    for pairs, counts in groups:
        first, second, weight = np.array(pairs, float).T
        weights = counts * weight
        total = weights.sum(axis=1, keepdims=True)
        # The weighted mean of ranks is a half
        a, b = (_ranks(values, weights) / total - 0.5 for values in (first, second))
        products = products + np.stack([(weights * c).sum(axis=1) for c in (a * b, a * a, b * b)])
    size = np.sqrt(products[1] * products[2])
    varied = np.minimum(products[1], products[2]) > 1e-12
    found: Array = np.divide(products[0], size, out=np.full_like(size, math.nan), where=varied)
    return found


def _ranks(values: Array, weights: Array) -> Array:
    """Weight below each value, and half of that at it: (R, n), for values (n,) and weights (R, n)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    at = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = np.cumsum(at, axis=1) - at / 2
    place = np.empty(len(values), int)
    place[order] = np.repeat(np.arange(len(starts)), np.diff([*starts, len(values)]))
    found: Array = middle[:, place]
    return found
