"""ReLU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunemax.gpt.lazy import F
from tunemax.gpt.mlp.base import Mlp

if TYPE_CHECKING:
    from torch import Tensor


class Relu(Mlp, name="relu"):
    """max(x, 0)."""

    def activation(self, x: Tensor) -> Tensor:
        return F.relu(x)
