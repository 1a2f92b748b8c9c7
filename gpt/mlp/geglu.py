"""GEGLU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunemax.gpt.lazy import F
from tunemax.gpt.mlp.gated import Gated

if TYPE_CHECKING:
    from torch import Tensor


class GeGlu(Gated, name="geglu"):
    """A gate of GELU (Shazeer, arXiv 2002.05202)."""

    def activation(self, x: Tensor) -> Tensor:
        return F.gelu(x)
