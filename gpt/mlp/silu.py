"""SiLU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunemax.gpt.lazy import F
from tunemax.gpt.mlp.base import Mlp

if TYPE_CHECKING:
    from torch import Tensor


class Silu(Mlp, name="silu"):
    """x σ(x) (Hendrycks and Gimpel, arXiv 1606.08415; also called swish)."""

    def activation(self, x: Tensor) -> Tensor:
        return F.silu(x)
