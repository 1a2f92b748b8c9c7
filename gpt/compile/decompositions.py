"""What the compiler is given in place of some of torch's operations: the same function, faster when compiled.

Each has the accuracy of the operation that it stands for. Those that several operations share, such as the exponential
of GELU and of its derivative, are written alike, so that the graph holds them once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from tunemax.gpt.matmul import current_route

KEPT = cast(Tensor, NotImplemented)
"""Returned where an operation stays as it is."""
NARROW = 8
"""Columns of a product up to which torch's default library computes it transposed three times as fast."""


def decompositions() -> Mapping[Any, Callable[..., Any]]:
    """The form of each operation, for `make_fx`. An operation stays as it is where its form returns KEPT."""
    from torch._decomp import get_decompositions

    aten = torch.ops.aten
    own: dict[Any, Callable[..., Any]] = {
        aten.baddbmm.default: baddbmm,
        aten.bmm.default: bmm,
        aten.gelu.default: gelu,
        aten.gelu_backward.default: gelu_backward,
    }
    shared = (aten._softmax.default, aten._log_softmax.default)  # in parts, of which both have some
    return own | get_decompositions(shared)


def baddbmm(bias: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """bias + a @ b. torch's own cannot be traced with an open number of members."""
    return bias + torch.bmm(a, b)


def bmm(a: Tensor, b: Tensor) -> Tensor:
    """a @ b, (N, n, k) times (N, k, m): for m of at most NARROW, such as heads of 8, as (bᵀ aᵀ)ᵀ."""
    if current_route() != "default" or a.dtype == torch.bfloat16 or b.shape[2] > NARROW or a.shape[1] <= NARROW:
        return KEPT
    turned: Tensor = torch.bmm(b.mT, a.mT)
    return turned.mT


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x Φ(x)."""
    if approximate != "none" or x.dtype == torch.float64:
        return KEPT
    wide = x.float()
    return (wide * _normal(wide)[0]).to(x.dtype)


def gelu_backward(grad: Tensor, x: Tensor, approximate: str = "none") -> Tensor:
    """grad times Φ(x) + x φ(x), with φ the density of the normal distribution."""
    if approximate != "none" or x.dtype == torch.float64:
        return KEPT
    wide = x.float()
    below, bell = _normal(wide)
    return (grad.float() * (below + wide * bell * (1 / math.sqrt(2 * math.pi)))).to(grad.dtype)


def _normal(x: Tensor) -> tuple[Tensor, Tensor]:
    """Φ(x), the distribution function of the normal distribution, to 1e-7, and e^(−x²/2), of which it is made.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: what torch's erf for vectors is as well.
    """
    bell: Tensor = torch.exp(x * x * -0.5)
    t = 1 / (1 + x.abs() * (0.3275911 * math.sqrt(0.5)))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    above = 0.5 * series * bell  # 1 - Φ(|x|)
    return torch.where(x < 0, above, 1 - above), bell
