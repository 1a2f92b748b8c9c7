"""How figures are rounded, wherever they are read."""

from __future__ import annotations

from tunemax.search.results.statistics import Comparison, Estimate, percent_digits

NONE = "–"
"""What is not known."""
count, loss, p = "{:,}".format, "{:.4f}".format, "{:.2g}".format
UNITS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def many(value: float) -> str:
    """Tokens or operations, in three digits: 76.8k, 1.25M, 3.4T."""
    return next((f"{value / unit:.3g}{letter}" for unit, letter in UNITS if value >= unit), f"{value:.3g}")


def share(value: float) -> str:
    return f"{100 * value:.0f} %"


def interval(mean: Estimate) -> str:
    """Of a loss."""
    return f"{mean.low:.4f} … {mean.high:.4f}"


def loss_with_half(mean: Estimate) -> str:
    """The mean ± half of its interval; of an uneven one, the longer half."""
    return f"{mean.mean:.4f} ±{max(mean.high - mean.mean, mean.mean - mean.low):.4f}"


def difference(versus: Comparison) -> str:
    """In percent of the reference, with its interval, in no more digits than say something."""
    mean, low, high = (100 * share for share in versus.relative)
    digits = percent_digits(*versus.relative[1:])
    return f"{mean:+.{digits}f} % ({low:+.{digits}f} … {high:+.{digits}f})"


def difference_alone(versus: Comparison) -> str:
    return f"{100 * versus.relative[0]:+.2f} %"


def difference_interval(versus: Comparison) -> str:
    return f"{100 * versus.relative[1]:+.2f} … {100 * versus.relative[2]:+.2f} %"
