"""Squared ReLU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunemax.gpt.lazy import F
from tunemax.gpt.mlp.base import Mlp

if TYPE_CHECKING:
    from torch import Tensor


class Relu2(Mlp, name="relu2"):
    """max(x, 0)² (So et al., Primer, arXiv 2109.08668)."""

    def activation(self, x: Tensor) -> Tensor:
        return F.relu(x).square()
