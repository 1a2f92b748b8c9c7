"""Linear layers of stacked members."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunemax.gpt.lanes import Views
from tunemax.gpt.lazy import torch
from tunemax.gpt.parameters import Parameter

if TYPE_CHECKING:
    from torch import Tensor


def linear_parameters(
    name: str, inputs: int, outputs: int, bias: bool, shrink: float = 1.0, blocks: tuple[int, ...] = ()
) -> Iterator[Parameter]:
    """A weight, and a bias if there is one. blocks: the outputs of several layers side by side."""
    yield Parameter(f"{name}.weight", (inputs, outputs), "hidden", shrink=shrink, blocks=blocks)
    if bias:
        yield Parameter(f"{name}.bias", (outputs,), "vector")


def linear(views: Views, name: str, x: Tensor) -> Tensor:
    """x (K, B, T, in) times each member's own weight (K, in, out), plus its bias if it has one."""
    weight, bias = views[f"{name}.weight"], views.get(f"{name}.bias")
    rows = x.flatten(1, 2)  # (K, B·T, in)
    out = torch.bmm(rows, weight) if bias is None else torch.baddbmm(bias[:, None], rows, weight)
    return out.view(*x.shape[:-1], -1)


def scaled(x: Tensor, scale: float) -> Tensor:
    """x times a number that all members share; 1 takes no time."""
    return x if scale == 1 else x * scale
