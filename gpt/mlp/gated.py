"""What MLPs with a gate have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from tunemax.gpt.lanes import Views
from tunemax.gpt.linear import linear, linear_parameters
from tunemax.gpt.mlp.base import Mlp
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor

MULTIPLE = 4
"""Of which the hidden width is one: two thirds of a width seldom are whole, and vectors of four are faster."""


class Gated(Mlp):
    """W₂ (f(W₁ x) ⊙ W₃ x) (Shazeer, arXiv 2002.05202, eq. 6). W₁ and W₃ are one matrix, side by side."""

    matrices: ClassVar[int] = 3

    def hidden(self, shape: Shape, attention: int) -> int:
        width = self._weights(shape, attention) / (self.matrices * shape.n_embd)
        return max(round(width / MULTIPLE), 1) * MULTIPLE

    def parameters(self, name: str, shape: Shape, attention: int) -> Iterator[Parameter]:
        width, hidden = shape.n_embd, self.hidden(shape, attention)
        yield from linear_parameters(f"{name}.fc", width, 2 * hidden, shape.bias, blocks=(hidden, hidden))
        yield from linear_parameters(f"{name}.proj", hidden, width, shape.bias, shrink=shape.residual_shrink)

    def __call__(self, views: Views, name: str, x: Tensor) -> Tensor:
        gate, values = linear(views, f"{name}.fc", x).chunk(2, dim=-1)  # (K, B, T, hidden) each
        return linear(views, f"{name}.proj", self.activation(gate) * values)
