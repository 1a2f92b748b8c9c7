"""SwiGLU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunemax.gpt.lazy import F
from tunemax.gpt.mlp.gated import Gated

if TYPE_CHECKING:
    from torch import Tensor


class SwiGlu(Gated, name="swiglu"):
    """A gate of SiLU (Shazeer, arXiv 2002.05202)."""

    def activation(self, x: Tensor) -> Tensor:
        return F.silu(x)
