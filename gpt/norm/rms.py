"""RMSNorm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunemax.gpt.lanes import Views
from tunemax.gpt.norm.base import Norm
from tunemax.gpt.norm.sizes import over_rms
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor


class RmsNorm(Norm, name="rms", aliases=("rmsnorm",)):
    """x / √(mean x² + ε) · weight (Zhang and Sennrich, arXiv 1910.07467): neither mean nor bias."""

    def parameters(self, name: str, shape: Shape) -> Iterator[Parameter]:
        yield Parameter(f"{name}.weight", (shape.n_embd,), "vector", fill=1.0)

    def __call__(self, views: Views, name: str, x: Tensor) -> Tensor:
        return over_rms(x) * views[f"{name}.weight"][:, None, None]
