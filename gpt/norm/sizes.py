"""What vectors are divided by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tunemax.gpt.lazy import torch
from tunemax.gpt.softmax.numerics import wide

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-5
"""Added to a mean square, as layer norms do to a variance."""
TINY = 1e-12
"""The same to a sum of squares."""


def over_rms(x: Tensor) -> Tensor:
    """x over the root of its mean square along the last dimension; in fp32 at least."""
    x = wide(x)
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON)


def over_length(x: Tensor) -> Tensor:
    """x over its length along the last dimension; in fp32 at least."""
    x = wide(x)
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + TINY)


NORMALISED: Mapping[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "l2": over_length,
    "rms": over_rms,
}
