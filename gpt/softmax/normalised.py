"""Variants that are a softmax of an elementwise score: softmax itself, softermax, the sigsoftmaxes and ssmax.

Each weight is e^score over the sum of its row, with the row maximum subtracted from the score: nothing can overflow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from tunemax.gpt.fields import Choices, Control, Range, setting
from tunemax.gpt.lazy import F, torch
from tunemax.gpt.softmax.base import Form, Variant, Work
from tunemax.gpt.softmax.numerics import (
    allowed_keys,
    capped,
    guard,
    lowered,
    masked_softmax,
    number,
    row_maximum,
    scaled_softmax,
    wide,
    zeroed,
)

if TYPE_CHECKING:
    from torch import Tensor

LN2 = math.log(2.0)


class Normalised(Variant, family=True):
    """Weights above 0 that add up to 1 in every row."""

    positive = True

    @property
    def normalised(self) -> bool:
        return True


class Softmax(Normalised, name="softmax"):
    """e^(x − max) / Σ over the row (Vaswani et al., Attention is all you need, arXiv 1706.03762, eq. 1)."""

    source = "Vaswani et al., Attention is all you need, arXiv 1706.03762, eq. 1"
    formula = "e^(x − max) / Σ e^(x − max)"
    work = Work(exponentials=1, divisions=1, reductions=2)
    fused = True
    as_output = ()

    def scores(self, logits: Tensor) -> Tensor:
        return logits

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        return masked_softmax(logits, mask)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # The fused kernels want exactly four dimensions (batch, heads, T, D).
        queries, keys, values = (part.reshape(-1, *part.shape[-3:]) for part in (q, k, v))
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True).view(*q.shape[:-1], v.shape[-1])


class Softermax(Normalised, name="softermax"):
    """2^(x − max) / Σ over the row (Stevens et al., Softermax, arXiv 2103.09301).

    Without the subtraction it is 2^x / Σ: the same function until the exponent x·ln 2 leaves ±GUARD, beyond which it
    stays constant and has no gradient. Both are computed in fp32 at least, so fp16 has the limit of fp32.
    """

    source = "Stevens et al., Softermax, arXiv 2103.09301"
    formula = "2^(x − max) / Σ 2^(x − max)"
    work = Work(exponentials=1, divisions=1, reductions=2)
    as_output = ()

    subtract_max: bool = setting(
        True, "subtract the maximum of the row; without it large logits saturate", search=Choices((True, False))
    )

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        x = wide(logits)
        if self.subtract_max:
            return scaled_softmax(x, LN2, mask).to(logits.dtype)
        limit = guard(x.dtype)
        return masked_softmax(capped(x * LN2, -limit, limit), mask).to(logits.dtype)

    def scores(self, logits: Tensor) -> Tensor:
        return logits * LN2

    def guarded(self, logits: Tensor, mask: Tensor) -> Tensor:
        if self.subtract_max:
            return super().guarded(logits, mask)
        exponent = wide(logits) * LN2
        return (exponent.abs() > guard(exponent.dtype)) & mask


class Sigsoftmax(Normalised, name="sigsoftmax"):
    """e^x·σ(x) / Σ e^x·σ(x) over the row (Kanai et al., Sigsoftmax, arXiv 1805.10829).

    Computed as the softmax of x + ln σ(x), which no logit can overflow.
    """

    source = "Kanai et al., Sigsoftmax, arXiv 1805.10829"
    formula = "e^x·σ(x) / Σ e^x·σ(x), σ(x) = 1/(1 + e^−x)"
    work = Work(exponentials=2, divisions=2, reductions=2)
    as_output = ()

    def scores(self, logits: Tensor) -> Tensor:
        return logits + F.logsigmoid(logits)

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        return masked_softmax(self.scores(wide(logits)), mask).to(logits.dtype)


class SigsoftmaxBase2(Normalised, name="sigsoftmax_base2"):
    """b^x·σ_b(x) / Σ b^x·σ_b(x) over the row, where σ_b(x) = 1/(1 + b^−x) and b = 2: sigsoftmax of x·ln b.

    Sigsoftmax (Kanai et al., arXiv 1805.10829) with another base, as in ReaLLMASIC's nanoGPT.
    """

    source = "Kanai et al., Sigsoftmax, arXiv 1805.10829, with the base of ReaLLMASIC's nanoGPT, softmax_variations.py"
    formula = "b^x·σ(x) / Σ b^x·σ(x), σ(x) = 1/(1 + b^−x)"
    work = Work(exponentials=2, divisions=2, reductions=2)
    as_output = ("base",)

    base: float = setting(
        2.0, "b, the base of the powers", gt=1, le=16, search=Range(1.5, 3), control=Control("additive", 1.05, 16)
    )

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        x = wide(logits)
        rate = number(self.base, x).log()
        low = lowered(x, mask)
        maximum = row_maximum(low).detach()
        # ln σ(y) = min(y, 0) + ln σ(|y|): what can be large is a difference of logits before it is multiplied.
        large = (low - maximum) + (_negative(low) - _negative(maximum))
        weights = torch.softmax(large * rate + F.logsigmoid(x.abs() * rate), dim=-1)
        return zeroed(weights, mask.any(dim=-1, keepdim=True)).to(logits.dtype)

    def scores(self, logits: Tensor) -> Tensor:
        x = logits * number(self.base, logits).log()
        return x + F.logsigmoid(x)


def _negative(x: Tensor) -> Tensor:
    """min(x, 0), with the slope ½ at 0 that ln σ has there."""
    return 0.5 * (x - x.abs())


class Ssmax(Normalised, name="ssmax", aliases=("scalable_softmax",)):
    """n^(s·x) / Σ n^(s·x) over a row of n allowed keys: softmax of s·ln n·x (Nakanishi, Scalable-Softmax, arXiv
    2501.19399, eq. 3). However long a row becomes, its largest weights do not fade.
    """

    source = "Nakanishi, Scalable-Softmax, arXiv 2501.19399, eq. 3"
    formula = "n^(s·x) / Σ n^(s·x)"
    work = Work(exponentials=1, divisions=1, reductions=2)
    as_output = ("strength",)

    strength: float = setting(
        0.43,
        "s, how much a logit counts in units of ln n",
        ge=1e-3,
        le=1e3,
        search=Range(0.1, 2, log=True),
        control=Control("multiplicative", 1e-2, 1e2),
        learnable=True,
    )
    learn_strength: bool = setting(True, "SGD moves s from its start, in log form", search=Choices((True, False)))
    sharing: Literal["layer", "head"] = setting(
        "layer",
        "one learned s a layer, or one a head",
        when={"learn_strength": (True,)},
        search=Choices(("layer", "head")),
    )

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        x = wide(logits)
        rate = allowed_keys(mask, x).log() * number(self.strength, x)
        scores = (x - row_maximum(lowered(x, mask)).detach()) * rate  # a rate of 0 would raise what is lowered
        return masked_softmax(scores, mask).to(logits.dtype)

    def scores(self, logits: Tensor) -> Tensor:
        return logits * (math.log(logits.shape[-1]) * number(self.strength, logits))

    def learned(self) -> dict[str, Form]:
        return {"strength": "log"} if self.learn_strength else {}
