"""How figures are rounded, wherever they are read."""

from __future__ import annotations

import math
from typing import Protocol

from tunemax.search.results.statistics import Estimate, percent_digits, signed

NONE = "–"
"""What is not known."""
FEW = "too few seeds"
"""What is said in place of an interval that has no end on either side."""
count, loss, p = "{:,}".format, "{:.4f}".format, "{:.2g}".format
UNITS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def many(value: float) -> str:
    """Tokens or operations, in three digits: 76.8k, 1.25M, 3.4T."""
    near = 0.9995  # of a unit: what is rounded up to it
    return next((f"{value / unit:.3g}{letter}" for unit, letter in UNITS if value >= near * unit), f"{value:.3g}")


def share(value: float) -> str:
    return f"{100 * value:.0f} %"


def interval(mean: Estimate) -> str:
    """Of a loss."""
    return f"{mean.low:.4f} … {mean.high:.4f}"


def loss_with_half(mean: Estimate) -> str:
    """The mean ± half of its interval; of an uneven one, the longer half."""
    return f"{mean.mean:.4f} ±{max(mean.high - mean.mean, mean.mean - mean.low):.4f}"


class Relative(Protocol):
    """A comparison with a reference."""

    @property
    def relative(self) -> tuple[float, float, float]:
        """The difference and its interval as shares of the reference; infinite where a run diverged."""


def difference(versus: Relative) -> str:
    """In percent of the reference, with its interval, in no more digits than say something."""
    finite = [share for share in versus.relative if math.isfinite(share)] or [1.0]
    digits = percent_digits(min(finite), max(finite))
    middle, low, high = (_percent(share, digits) for share in versus.relative)
    return f"{middle} % ({FEW if _is_unbounded(versus) else f'{low} … {high}'})"


def difference_alone(versus: Relative) -> str:
    return f"{_percent(versus.relative[0], 2)} %"


def difference_interval(versus: Relative) -> str:
    return FEW if _is_unbounded(versus) else f"{_percent(versus.relative[1], 2)} … {_percent(versus.relative[2], 2)} %"


def effect(value: float) -> str:
    """A difference in units of a standard deviation."""
    return signed(value, 2)


def _is_unbounded(versus: Relative) -> bool:
    middle, low, high = versus.relative
    return math.isfinite(middle) and low == -math.inf and high == math.inf


def _percent(share: float, digits: int) -> str:
    """With its sign; ∞ where a run that diverged stands for the difference, or nothing bounds it."""
    return signed(100 * share, digits) if math.isfinite(share) else "+∞" if share > 0 else "-∞"
