"""Layer norm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunemax.gpt.lanes import Views
from tunemax.gpt.lazy import F
from tunemax.gpt.norm.base import Norm
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor


class LayerNorm(Norm, name="layer"):
    """(x − mean) / √(variance + ε) · weight + bias (Ba et al., arXiv 1607.06450)."""

    def parameters(self, name: str, shape: Shape) -> Iterator[Parameter]:
        yield Parameter(f"{name}.weight", (shape.n_embd,), "vector", fill=1.0)
        if shape.bias:
            yield Parameter(f"{name}.bias", (shape.n_embd,), "vector")

    def __call__(self, views: Views, name: str, x: Tensor) -> Tensor:
        out = F.layer_norm(x, x.shape[-1:]) * views[f"{name}.weight"][:, None, None]
        bias = views.get(f"{name}.bias")
        return out if bias is None else out + bias[:, None, None]
