"""Logits made into probabilities, and tokens drawn from these: here, and nowhere else."""

from __future__ import annotations

import torch
from torch import Tensor


def expected(logits: Tensor) -> Tensor:
    """How likely each token is, (..., V)."""
    return torch.softmax(logits, dim=-1)


def drawn(weights: Tensor, at: Tensor) -> Tensor:
    """A token each, (..., 1), of weights (..., V) with any sum, from numbers (..., 1) that are uniform below 1.

    Where weights are not finite, it is any token.
    """
    ends = weights.cumsum(-1)
    return torch.searchsorted(ends, at * ends[..., -1:], right=True).clamp(max=weights.shape[-1] - 1)
