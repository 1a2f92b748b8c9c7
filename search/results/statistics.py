"""Means and shares with their intervals."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
"""A difference is called one if its corrected p is not above this."""
MANY = 30
"""From so many values on an interval is BCa's, below t's: there BCa's 95 % cover less (92.7 % at 12)."""
BOOTSTRAP = 2000
"""Resamples for an interval."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval. sd: of the values. method: t or BCa."""

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


def share(count: int, n: int) -> Share:
    """So many of n, with Wilson's interval; 0 to 1 if n is 0."""
    if n == 0:
        return Share(0, 0, 0.0, 1.0)
    z, part = NormalDist().inv_cdf(1 - ALPHA / 2), count / n
    middle = (part + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(part * (1 - part) / n + z * z / (4 * n * n))
    return Share(count, n, middle - half if count else 0.0, middle + half if count < n else 1.0)


def signed(value: float, digits: int) -> str:
    """With its sign, but for what is rounded to zero: ``+1.20``, ``0.00``."""
    rounded = f"{value:+.{digits}f}"
    return rounded if float(rounded) else f"{0:.{digits}f}"


def percent_digits(low: float, high: float) -> int:
    """Digits behind the point of a share in percent, by the ends of its interval: two where all is below 1 %."""
    return 1 if max(abs(100 * low), abs(100 * high)) >= 1 else 2


def finite(value: Any) -> Any:
    """As JSON can hold it: what is not finite is None."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
