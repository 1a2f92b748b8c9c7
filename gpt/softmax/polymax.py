"""Polynomials instead of an exponential, no maximum and no row sum: polymax, vpolymax and exppolymax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunemax.gpt.fields import Above, Control, Range, setting
from tunemax.gpt.softmax.base import Work
from tunemax.gpt.softmax.elementwise import Elementwise, divisor_field, length_field
from tunemax.gpt.softmax.numerics import capped, guard, number, smallest_exponent

if TYPE_CHECKING:
    from torch import Tensor


class Polymax(Elementwise, name="polymax"):
    """Elementwise, continuous, all divided by `divisor` (ReaLLMASIC's nanoGPT, softmax_variations.py, class Polymax):

    0 for x < x₀; the line from (x₀, 0) to (0, y₀) for x₀ ≤ x ≤ 0; x^p + y₀ for x > 0.

    A weight is at most e^GUARD, and has no gradient above it (nor below x₀). x^p / divisor is computed as x·exp((p −
    1)·ln x − ln divisor).
    """

    source = "ReaLLMASIC's nanoGPT, softmax_variations.py, class Polymax"
    formula = (
        "0 for x < x₀; the line from (x₀, 0) to (0, y₀) for x₀ ≤ x ≤ 0; x^p + y₀ for x > 0; all divided by the divisor"
    )
    work = Work(comparisons=2)

    x0: float = setting(
        -100.0,
        "x₀, the logit below which a weight is 0",
        when={"y0": Above(0)},  # else the line lies on the axis
        inert_as=-100.0,
        le=-1e-3,
        search=Range(-100, -20),
        control=Control("additive", -1000, -1),
    )
    y0: float = setting(
        1.0, "y₀, the value at a logit of 0", ge=0, le=1000, search=Range(0.2, 1), control=Control("additive", 0, 10)
    )
    power: float = setting(
        2.0, "p, the power above a logit of 0", ge=1, le=16, search=Range(2, 5), control=Control("additive", 1, 8)
    )
    divisor: float = divisor_field(1000.0, 1.0, 10000.0)
    div_by_seq_len: bool = length_field()

    def curve(self, x: Tensor, mask: Tensor) -> Tensor:
        # Without `where`, whose branches cost more on a CPU than all the rest: the positive part of x is 0 where the
        # power is not wanted, and what multiplies it is finite there, with a finite gradient.
        power, divisor = number(self.power, x), number(self.divisor, x)
        positive = x.relu()
        exponent = (positive + 1e-30).log() * (power - 1) - divisor.log()
        return self._line(x - positive, divisor) + positive * capped(exponent, -80.0, guard(x.dtype) + 1).exp()

    def _line(self, negative: Tensor, divisor: Tensor) -> Tensor:
        """What is beside the power, of min(x, 0)."""
        x0, y0 = number(self.x0, negative), number(self.y0, negative)
        return (negative - x0).relu() * (y0 / (-x0 * divisor))


class VPolymax(Polymax, name="vpolymax"):
    """Polymax with a line of the opposite slope, so that it is a V (ReaLLMASIC's nanoGPT, softmax_variations.py, class
    VPolymax), all divided by `divisor`:

    0 for x < x₀; the line from (x₀, 2 y₀) to (0, y₀) for x₀ ≤ x ≤ 0; x^p + y₀ for x > 0. It jumps at x₀.
    """

    source = "ReaLLMASIC's nanoGPT, softmax_variations.py, class VPolymax"
    formula = (
        "0 for x < x₀; the line from (x₀, 2 y₀) to (0, y₀) for x₀ ≤ x ≤ 0; x^p + y₀ for x > 0; all divided by the "
        "divisor"
    )

    def _line(self, negative: Tensor, divisor: Tensor) -> Tensor:
        x0, y0 = number(self.x0, negative), number(self.y0, negative)
        return (1 + negative / x0) * (negative >= x0).to(negative.dtype) * (y0 / divisor)


class ExpPolymax(Elementwise, name="exppolymax"):
    """An exponential below 0 and a polynomial above it, joined in value and slope (ReaLLMASIC's nanoGPT,
    softmax_variations.py, class ExpPolymax, whose value jumps at 0), all divided by `divisor`:

    b^x for x < 0; (x + s)^p + 1 − s^p for x ≥ 0, where p·s^(p − 1) = ln b.

    A weight is at most e^GUARD, and has no gradient above it.
    """

    source = "ReaLLMASIC's nanoGPT, softmax_variations.py, class ExpPolymax"
    formula = "b^x for x < 0; (x + s)^p + 1 − s^p for x ≥ 0, p·s^(p − 1) = ln b; all divided by the divisor"
    work = Work(exponentials=1, comparisons=1)
    positive = True

    base: float = setting(
        2.718281828459045,
        "b, the base of the power below a logit of 0",
        ge=1.05,
        le=16,
        search=Range(1.5, 5),
        control=Control("additive", 1.05, 16),
    )
    power: float = setting(
        2.0, "p, the power above a logit of 0", ge=1.25, le=16, search=Range(2, 5), control=Control("additive", 1.25, 8)
    )
    divisor: float = divisor_field(1000.0, 1.0, 10000.0)
    div_by_seq_len: bool = length_field()

    def curve(self, x: Tensor, mask: Tensor) -> Tensor:
        power, rate, log_divisor = number(self.power, x), number(self.base, x).log(), number(self.divisor, x).log()
        log_shift = (rate / power).log() / (power - 1)  # ln s
        positive = x.relu()
        low, high = smallest_exponent(x.dtype), guard(x.dtype) + 1
        below = capped((x - positive) * rate - log_divisor, low, high)
        above = capped((positive + log_shift.exp()).log() * power - log_divisor, low, high)
        return below.exp() + (above.exp() - (log_shift * power - log_divisor).exp())
