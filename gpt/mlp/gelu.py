"""GELU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunemax.gpt.lazy import F
from tunemax.gpt.mlp.base import Mlp

if TYPE_CHECKING:
    from torch import Tensor


class Gelu(Mlp, name="gelu"):
    """x Φ(x), Φ being the normal distribution function (Hendrycks and Gimpel, arXiv 1606.08415)."""

    def activation(self, x: Tensor) -> Tensor:
        return F.gelu(x)
