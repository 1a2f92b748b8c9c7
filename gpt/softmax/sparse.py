"""Variants of a row that give exact zeros to keys that it may attend to: sparsemax, entmax15, softpick, ste_argmax."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from tunemax.gpt.lazy import torch
from tunemax.gpt.softmax.base import Variant, Work
from tunemax.gpt.softmax.numerics import capped, lowered, masked_softmax, row_maximum, wide, zeroed

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-6
"""What softpick adds to the sum of a row."""


class Projection(Variant, family=True):
    """max(z − τ, 0)^p with the τ of each row at which its weights add up to 1: the nearest distribution in some sense.

    τ is found exactly, by sorting, and without gradient. Then it takes one step of Newton's: that mends its rounding,
    and has the gradient of the true τ.
    """

    @property
    def normalised(self) -> bool:
        return True

    @abstractmethod
    def _threshold(self, falling: Tensor, sizes: Tensor) -> Tensor:
        """τ (..., Tq, 1) of each row from its scores z in falling order (..., Tq, Tk), the largest 0; sizes: 1 … Tk."""

    def _projected(self, logits: Tensor, mask: Tensor, scale: float, power: int) -> Tensor:
        x = wide(logits)
        low = lowered(x, mask)
        # Weights are at most 1, so what lies more than 1 below the maximum has none: 2 below is as good as any.
        scores = capped((low - row_maximum(low).detach()) * scale, -2.0, 1.0)
        with torch.no_grad():
            falling = scores.sort(dim=-1, descending=True).values
            sizes = torch.arange(1, falling.shape[-1] + 1, dtype=x.dtype, device=x.device)
            threshold = self._threshold(falling, sizes)
            over = (scores - threshold).relu()
            slope = power * (over.pow(power - 1) * (over > 0)).sum(dim=-1, keepdim=True)
        excess = (scores - threshold).relu().pow(power).sum(dim=-1, keepdim=True) - 1
        weights = (scores - (threshold + excess / slope)).relu().pow(power)
        return zeroed(weights, mask & mask.any(dim=-1, keepdim=True)).to(logits.dtype)


class Sparsemax(Projection, name="sparsemax"):
    """max(x − τ, 0), τ such that a row adds up to 1: the nearest distribution to x (Martins and Astudillo, arXiv
    1602.02068, eq. 2 and algorithm 1)."""

    source = "Martins and Astudillo, From softmax to sparsemax, arXiv 1602.02068, algorithm 1"
    formula = "max(x − τ, 0), τ such that a row adds up to 1"
    work = Work(reductions=2, comparisons=7)

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        return self._projected(logits, mask, 1.0, 1)

    def _threshold(self, falling: Tensor, sizes: Tensor) -> Tensor:
        sums = falling.cumsum(dim=-1)
        support = (1 + sizes * falling > sums).sum(dim=-1, keepdim=True)
        return (sums.gather(-1, support - 1) - 1) / support


class Entmax15(Projection, name="entmax15", aliases=("entmax",)):
    """max(x/2 − τ, 0)², τ such that a row adds up to 1: entmax with α = 1.5, between softmax and sparsemax (Peters et
    al., arXiv 1905.05702, algorithm 2)."""

    source = "Peters et al., Sparse sequence-to-sequence models, arXiv 1905.05702, algorithm 2"
    formula = "max(x/2 − τ, 0)², τ such that a row adds up to 1"
    work = Work(divisions=1, reductions=3, comparisons=7)

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        return self._projected(logits, mask, 0.5, 2)

    def _threshold(self, falling: Tensor, sizes: Tensor) -> Tensor:
        mean = falling.cumsum(dim=-1) / sizes
        squares = falling.square().cumsum(dim=-1) / sizes
        spread = (1 / sizes - (squares - mean.square())).clamp(min=0)
        thresholds = mean - spread.sqrt()  # as if each were the last that has a weight
        support = (thresholds <= falling).sum(dim=-1, keepdim=True)
        return thresholds.gather(-1, support - 1)


class Softpick(Variant, name="softpick"):
    """max(e^x − 1, 0) / Σ |e^x − 1| over the row (Zuhri et al., Softpick, arXiv 2504.20966, eq. 4).

    Computed with e^−max(m, 0) in every term, m being the maximum of the row, and 10⁻⁶ added to the sum after that. A
    row adds up to 1 or less; logits below 0 have no weight, but take from the others.
    """

    source = "Zuhri et al., Softpick, arXiv 2504.20966"
    formula = "max(e^x − 1, 0) / Σ |e^x − 1|"
    work = Work(exponentials=1, divisions=1, reductions=2, comparisons=1)

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        x = wide(logits)
        maximum = row_maximum(lowered(x, mask)).relu()
        # |e^x − 1| = e^max(x, 0)·(1 − e^−|x|), exact for small x, too
        size = zeroed((x.relu() - maximum).clamp(max=0).exp() * -torch.expm1(-x.abs()), mask)
        picked = size * (x > 0).to(x.dtype)
        return (picked / (size.sum(dim=-1, keepdim=True) + EPSILON)).to(logits.dtype)


class SteArgmax(Variant, name="ste_argmax", aliases=("ste_argmax_softmax",)):
    """1 for the largest logit of the row, the first of several; the gradient is softmax's (klei22's nanoGPT,
    softmax_variations.py, class STEArgmaxSoftmax)."""

    source = "klei22's nanoGPT, softmax_variations.py, class STEArgmaxSoftmax"
    formula = "1 for the largest x, else 0; the gradient is softmax's"
    work = Work(reductions=1, comparisons=1)
    straight_through = ("logits",)

    @property
    def normalised(self) -> bool:
        return True

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        soft = masked_softmax(wide(logits), mask)
        with torch.no_grad():
            low = lowered(wide(logits), mask)
            largest = low >= row_maximum(low)
            first = largest & (largest.cumsum(dim=-1) == 1) & mask
        return (first.to(soft.dtype) + (soft - soft.detach())).to(logits.dtype)
