"""Polymax: a ramp and a power instead of an exponential, no maximum and no row sum."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tunemax.gpt.fields import Above, Choices, Condition, Control, Range, setting
from tunemax.gpt.softmax.base import Variant
from tunemax.gpt.softmax.numerics import allowed_keys, capped, guard, number, wide, zeroed

if TYPE_CHECKING:
    from torch import Tensor

Constants = tuple["Tensor", "Tensor", "Tensor", "Tensor"]
"""x₀, the slope of the line, p − 1, and the logarithm of the divisor."""


class Polymax(Variant, name="polymax"):
    """Elementwise, continuous, all divided by `divisor` (ReaLLMASIC's nanoGPT, softmax_variations.py, class Polymax):

    0 for x < x₀; the line from (x₀, 0) to (0, y₀) for x₀ ≤ x ≤ 0; x^p + y₀ for x > 0.

    A weight is at most e^GUARD, and has no gradient above it (nor below x₀). x^p / divisor is computed as x·exp((p −
    1)·ln x − ln divisor).
    """

    source = "ReaLLMASIC's nanoGPT, softmax_variations.py, class Polymax"

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
    divisor: float = setting(
        1000.0,
        "divides every weight",
        ge=1e-3,
        le=1e9,
        search=Range(1, 10000, log=True),
        control=Control("multiplicative", 1e-3, 1e9),
    )
    div_by_seq_len: bool = setting(
        False, "divide also by the number of keys that the row may attend to", search=Choices((False, True))
    )

    def _constants(self, like: Tensor) -> Constants:
        x = wide(like)
        x0, y0, power, divisor = (number(value, x) for value in (self.x0, self.y0, self.power, self.divisor))
        return x0, y0 / (-x0 * divisor), power - 1, divisor.log()

    @classmethod
    def divides_by_sum(cls) -> list[Condition]:
        return []

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        return self._weights(self._constants(logits), logits, mask)

    def merged(self, like: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        return partial(self._weights, self._constants(like))

    def _weights(self, constants: Constants, logits: Tensor, mask: Tensor) -> Tensor:
        x = wide(logits)
        weights = zeroed(capped(_unbounded(constants, x), -1.0, math.exp(guard(logits.dtype))), mask)
        if self.div_by_seq_len:
            weights = weights / allowed_keys(mask, x)
        return weights.to(logits.dtype)

    def guarded(self, logits: Tensor, mask: Tensor) -> Tensor:
        return (_unbounded(self._constants(logits), wide(logits)) > math.exp(guard(logits.dtype))) & mask


def _unbounded(constants: Constants, x: Tensor) -> Tensor:
    """The formula before the guard, finite for every logit; where it is cut off, it is beyond the guard of any dtype.

    Written without `where`, whose branches cost more on a CPU than all the rest: the positive part of x is 0 where the
    power is not wanted, and what multiplies it is finite there, with a finite gradient.
    """
    x0, slope, less, log_divisor = constants
    positive = x.relu()
    line = (x - positive - x0).relu() * slope
    exponent = (positive + 1e-30).log() * less - log_divisor
    return line + positive * capped(exponent, -80.0, guard(x.dtype) + 1).exp()
