"""RMSNorm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunemax.gpt.lanes import Views
from tunemax.gpt.norm.base import Norm
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor


EPSILON = 1e-5
"""Under the root, as in a layer norm."""


def rms(x: Tensor) -> Tensor:
    """x over the root of its mean square along the last dimension."""
    return x * (x.square().mean(-1, keepdim=True) + EPSILON).rsqrt()


class RmsNorm(Norm, name="rms", aliases=("rmsnorm",)):
    """x / √(mean x² + ε) · weight (Zhang and Sennrich, arXiv 1910.07467): neither mean nor bias."""

    def parameters(self, name: str, shape: Shape) -> Iterator[Parameter]:
        yield Parameter(f"{name}.weight", (shape.n_embd,), "vector", fill=1.0)

    def __call__(self, views: Views, name: str, x: Tensor) -> Tensor:
        return rms(x) * views[f"{name}.weight"][:, None, None]
