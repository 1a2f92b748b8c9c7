"""Template: what it is for, in a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunemax.gpt.lanes import Views
from tunemax.gpt.norm.base import Norm
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor

__version__ = "1"


class Template(Norm, name="template"):
    """x / √(1 + mean x²) · weight."""

    def parameters(self, name: str, shape: Shape) -> Iterator[Parameter]:
        """What is learned, each with its shape and its role."""
        yield Parameter(f"{name}.weight", (shape.n_embd,), "vector", fill=1.0)

    def __call__(self, views: Views, name: str, x: Tensor) -> Tensor:
        """x (K members, B, T, C) normalised."""
        size = (1 + x.square().mean(-1, keepdim=True)).sqrt()
        return x / size * views[f"{name}.weight"][:, None, None]
