"""What variants have in common that look at one logit at a time and may grow without end."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from tunemax.gpt.fields import Choices, Condition, Control, Range, setting
from tunemax.gpt.softmax.base import Variant
from tunemax.gpt.softmax.numerics import allowed_keys, capped, guard, wide, zeroed

if TYPE_CHECKING:
    from torch import Tensor


def divisor_field(default: float, low: float = 1.0, high: float = 1024.0) -> Any:
    """The field `divisor`, searched between these numbers."""
    return setting(
        default,
        "divides every weight",
        ge=1e-3,
        le=1e9,
        search=Range(low, high, log=True),
        control=Control("multiplicative", 1e-3, 1e9),
    )


def length_field() -> Any:
    """The field `div_by_seq_len`."""
    return setting(False, "divide also by the number of keys that the row may attend to", search=Choices((False, True)))


class Elementwise(Variant, family=True):
    """A curve of the logit. A weight ends at ±e^GUARD and has no gradient beyond; then it is divided by the number of
    keys of its row, if a field `div_by_seq_len` asks for that.
    """

    @abstractmethod
    def curve(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weights before the guard, finite for every logit and with finite gradients; where it is cut off, it is beyond
        the guard of any dtype."""

    @classmethod
    def divides_by_sum(cls) -> list[Condition]:
        return []

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        x, limit = wide(logits), math.exp(guard(logits.dtype))
        weights = zeroed(capped(self.curve(x, mask), -limit, limit), mask)
        if dict(self).get("div_by_seq_len"):
            weights = weights / allowed_keys(mask, x)
        return weights.to(logits.dtype)

    def guarded(self, logits: Tensor, mask: Tensor) -> Tensor:
        return (self.curve(wide(logits), mask).abs() > math.exp(guard(logits.dtype))) & mask
