"""Template: what it is for, in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunemax.gpt.fields import Range, setting
from tunemax.gpt.softmax.base import Work
from tunemax.gpt.softmax.normalised import Normalised
from tunemax.gpt.softmax.numerics import masked_softmax, number, wide

if TYPE_CHECKING:
    from torch import Tensor

__version__ = "1"


class Template(Normalised, name="template"):
    """e^(heat · x) / Σ over the row."""

    source = "where the formula comes from"
    formula = "e^(heat · x − max) / Σ e^(heat · x − max)"
    work = Work(exponentials=1, divisions=1, reductions=2)

    heat: float = setting(1.0, "what logits are multiplied with", gt=0, le=100, search=Range(0.5, 2.0, log=True))

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Weights of the keys where mask is True, and exactly 0 where it is not; logits (…, queries, keys)."""
        x = wide(logits)  # half precision is computed in fp32
        return masked_softmax(x * number(self.heat, x), mask).to(logits.dtype)
