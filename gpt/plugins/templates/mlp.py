"""Template: what it is for, in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunemax.gpt.lazy import torch
from tunemax.gpt.mlp.base import Mlp

if TYPE_CHECKING:
    from torch import Tensor

__version__ = "1"


class Template(Mlp, name="template"):
    """x · tanh(x) between the two matrices; with `Gated` of `tunemax.gpt.mlp.gated` as base it is that of a gate."""

    def activation(self, x: Tensor) -> Tensor:
        """f, element by element."""
        return x * torch.tanh(x)
