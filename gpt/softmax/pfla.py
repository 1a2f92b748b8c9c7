"""A curve that is learned: straight lines between knots."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from tunemax.gpt.fields import Choices, Condition, Control, Range, setting
from tunemax.gpt.lazy import F, torch
from tunemax.gpt.softmax.base import Form, Variant, Work
from tunemax.gpt.softmax.numerics import capped, guard, number, wide, zeroed

if TYPE_CHECKING:
    from torch import Tensor

KNOTS = 30
REACH = 10.0
"""Knots lie evenly between the logits −REACH and REACH."""
LEAST = 1e-6
"""So many times e^x is added to a start that ends at 0: a height of 0 would stay there."""


class PflaSoftmax(Variant, name="pfla_softmax"):
    """f(x) / Σ f(x), f a curve of straight lines between 30 knots on ±10 whose heights SGD moves (ReaLLMASIC's nanoGPT,
    softmax_variations.py, class PFLASoftmax, mode linear).

    Beyond the outermost knots f is constant. Heights are held in log form, so that they stay above 0. Not divided by
    the sum, the height of the start, 1/γ, stands for it.
    """

    source = "ReaLLMASIC's nanoGPT, softmax_variations.py, class PFLASoftmax"
    formula = "f(x) / Σ f(x), f straight lines between 30 knots on ±10"
    work = Work(divisions=1, reductions=1, comparisons=2)
    positive = True
    as_output = ("start",)
    sizes: ClassVar[Mapping[str, int]] = {"height": KNOTS}

    start: Literal["exp", "softplus", "gelu"] = setting(
        "exp",
        "the curve whose heights at the knots those of f start from: e^x, softplus or GELU",
        search=Choices(("exp", "softplus", "gelu")),
    )
    learn_height: bool = setting(True, "SGD moves the height at every knot, in log form", search=Choices((True, False)))
    divide_by_sum: bool = setting(True, "divide by the sum of the row", search=Choices((True, False)))
    height: float = setting(
        0.01,
        "what the start is multiplied with",
        when={"divide_by_sum": (False,)},
        ge=1e-9,
        le=1e9,
        search=Range(1e-3, 1, log=True),
        control=Control("multiplicative", 1e-6, 1e3),
        learnable=True,
    )
    sharing: Literal["layer", "head"] = setting(
        "layer",
        "one learned curve a layer, or one a head",
        when={"learn_height": (True,)},
        search=Choices(("layer", "head")),
    )

    @classmethod
    def divides_by_sum(cls) -> list[Condition]:
        return [{**condition, "pfla_softmax.divide_by_sum": (True,)} for condition in super().divides_by_sum()]

    @property
    def normalised(self) -> bool:
        return self.divide_by_sum

    def learned(self) -> dict[str, Form]:
        return {"height": "log"} if self.learn_height else {}

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        x = wide(logits)
        heights = self._curve(x)
        if self.divide_by_sum:
            heights = zeroed(heights, mask)
            tiny = torch.finfo(x.dtype).tiny  # for a row that may attend to nothing
            return (heights / heights.sum(dim=-1, keepdim=True).clamp(min=tiny)).to(logits.dtype)
        return zeroed(capped(heights, -1.0, self._limit(logits)), mask).to(logits.dtype)

    def guarded(self, logits: Tensor, mask: Tensor) -> Tensor:
        beyond = wide(logits).abs() > REACH
        if not self.divide_by_sum:
            beyond = beyond | (self._curve(wide(logits)) > self._limit(logits))
        return beyond & mask

    def scores(self, logits: Tensor) -> Tensor:
        return self._curve(logits).log()

    def _limit(self, logits: Tensor) -> float:
        return math.exp(guard(logits.dtype))

    def _curve(self, x: Tensor) -> Tensor:
        """f(x), by the height of the knot to the left of each logit and the rise to the next one."""
        knots = torch.linspace(-REACH, REACH, KNOTS, dtype=x.dtype, device=x.device)
        at_knots = STARTS[self.start](knots) * number(self.height, x)  # (KNOTS), or bound (…, 1, KNOTS)
        rises = at_knots[..., 1:] - at_knots[..., :-1]
        place = capped((x + REACH) * ((KNOTS - 1) / (2 * REACH)), 0.0, KNOTS - 1.0)
        left = place.detach().floor().clamp(max=KNOTS - 2).long()
        rows = x.shape[:-1]
        height = at_knots.expand(*rows, KNOTS).gather(-1, left)
        return height + rises.expand(*rows, KNOTS - 1).gather(-1, left) * (place - left)


STARTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "exp": lambda x: x.exp(),
    "softplus": lambda x: -F.logsigmoid(-x),
    "gelu": lambda x: F.gelu(x).relu() + LEAST * x.exp(),
}
