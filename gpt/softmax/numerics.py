"""What the formulas of several variants share: the guard, the dtype they compute in, and row sums over allowed keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tunemax.gpt.lazy import F, torch

if TYPE_CHECKING:
    from torch import Tensor

GUARD: Mapping[str, float] = {"float64": 30.0, "float32": 30.0, "bfloat16": 30.0, "float16": 5.0}
"""Largest natural logarithm that an unnormalised weight may have, by dtype of the logits.

Above it a weight stays constant and its gradient is zero. e^30 ≈ 1e13: a row of 10,000 such weights, the attention
output made of them, and the squares of their gradients all stay finite in fp32 and bf16. fp16 ends at 65504: e^5 ≈ 148
leaves room for rows of 256 keys with values of ordinary size. float64 has the limit of fp32, so that it is a reference
for it.
"""


def guard(dtype: torch.dtype) -> float:
    """The GUARD of logits of this dtype."""
    return GUARD[str(dtype).removeprefix("torch.")]


def wide(logits: Tensor) -> Tensor:
    """The logits in the dtype to compute in: fp32 for half precision, where a logit of 30 has an error of 0.1."""
    return logits.float() if logits.dtype.itemsize == 2 else logits


def number(value: float | Tensor, like: Tensor) -> Tensor:
    """A field's value as a tensor; what a trainer has bound is one already, so both take the same arithmetic."""
    return value if isinstance(value, torch.Tensor) else torch.as_tensor(value, dtype=like.dtype, device=like.device)


def capped(x: Tensor, low: float, high: float) -> Tensor:
    """x clamped, without gradient outside. On a CPU the backward of `clamp` takes ten times as long."""
    return F.hardtanh(x, low, high)


def capped_exp(exponent: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    """min(e^exponent, e^guard(dtype)) for allowed keys and 0 for others, as `dtype`."""
    return zeroed(capped(exponent, smallest_exponent(exponent.dtype), guard(dtype)).exp(), mask).to(dtype)


def smallest_exponent(dtype: torch.dtype) -> float:
    """The logarithm of e times the smallest normal number (fp32: 3e-38): below, a CPU takes twenty times as long."""
    return math.log(torch.finfo(dtype).tiny) + 1


def zeroed(weights: Tensor, mask: Tensor) -> Tensor:
    """Finite weights with those of masked keys at 0. A product, since `masked_fill` takes eight times as long."""
    return weights * mask.to(weights.dtype)


def lowered(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores with those of masked keys so low that they vanish in a softmax, but finite less a row maximum."""
    low = torch.finfo(scores.dtype).min / 2
    return scores + torch.zeros(mask.shape, dtype=scores.dtype, device=mask.device).masked_fill(~mask, low)


def row_maximum(lowered_scores: Tensor) -> Tensor:
    """The largest allowed score of each row, (..., Tq, 1), from `lowered` ones; about as low as they for a row without.

    A formula subtracts it before it multiplies: at a logit of 1e4 a product in fp32 has an error of 5e-4, and so would
    the exponent.
    """
    return lowered_scores.amax(dim=-1, keepdim=True)


def scaled_softmax(x: Tensor, rate: Tensor | float, mask: Tensor) -> Tensor:
    """e^(x·rate) over the sum of its row's allowed keys, exact for large x, too; zeros for a row without any.

    A softmax does not change when a row is shifted, so the maximum needs no gradient.
    """
    low = lowered(x, mask)
    weights = torch.softmax((low - row_maximum(low).detach()) * rate, dim=-1)
    return zeroed(weights, mask.any(dim=-1, keepdim=True))


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """e^score over the sum of its row's allowed keys; zeros for a row without any."""
    weights = torch.softmax(lowered(scores, mask), dim=-1)  # beside an allowed key, masked ones underflow to exactly 0
    return zeroed(weights, mask.any(dim=-1, keepdim=True))


def allowed_keys(mask: Tensor, like: Tensor) -> Tensor:
    """The number of keys that each row may attend to, (..., Tq, 1), at least 1; never the width of the tensor."""
    whole = mask.expand(*mask.shape[:-1], like.shape[-1])
    return whole.sum(dim=-1, keepdim=True).clamp(min=1).to(like.dtype)
