"""Numbers as they are written."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemax.search.results.statistics import signed
from tunemax.search.views import rounding


@dataclass(frozen=True)
class Shares:
    relative: tuple[float, float, float]


@pytest.mark.parametrize(
    ("relative", "written"),
    [
        ((0.02, -0.013, 0.05), "+2.0 % (-1.3 … +5.0)"),
        ((-0.004, -0.0062, -0.0011), "-0.40 % (-0.62 … -0.11)"),
        ((0.01, -math.inf, math.inf), "+1.0 % (too few seeds)"),
        ((math.inf, 0.01, math.inf), "+∞ % (+1.0 … +∞)"),
        ((-0.00001, -0.004, 0.00004), "0.00 % (-0.40 … 0.00)"),
        ((-math.inf, -math.inf, -0.01), "-∞ % (-∞ … -1.0)"),
    ],
)
def test_a_difference_is_in_percent_of_the_reference(relative: tuple[float, float, float], written: str) -> None:
    assert rounding.difference(Shares(relative)) == written


def test_the_columns_of_a_difference_are_in_percent_too() -> None:
    assert rounding.difference_alone(Shares((0.0123, 0.0, 0.1))) == "+1.23 %"
    assert rounding.difference_interval(Shares((0.0123, -0.001, 0.1))) == "-0.10 … +10.00 %"
    assert rounding.difference_interval(Shares((0.0123, -0.00004, 0.0))) == "0.00 … 0.00 %"


@given(st.floats(-1e6, 1e6), st.integers(0, 3))
def test_what_is_rounded_to_zero_has_no_sign(value: float, digits: int) -> None:
    written = signed(value, digits)
    assert float(written) == pytest.approx(round(value, digits))
    assert (written[0] in "+-") == (float(written) != 0)
