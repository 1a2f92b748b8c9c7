"""The contract of an MLP."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunemax.gpt.fields import Choices, setting
from tunemax.gpt.lanes import Views
from tunemax.gpt.linear import linear, linear_parameters
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.parts import Part
from tunemax.gpt.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor


class Mlp(Part, field="mlp", noun="MLP"):
    """W₂ f(W₁ x): what a block makes of each token by itself. A kind says what f is."""

    mlp_ratio: float = setting(
        4.0,
        "width of the MLP's hidden layer, in widths of the residual stream; one with a gate has two thirds of it, so "
        "that parameters are equal",
        gt=0,
        le=64,
        search=Choices((2.0, 4.0, 8.0)),
        shared=True,
        neutral=4.0,
    )

    @abstractmethod
    def activation(self, x: Tensor) -> Tensor:
        """f, element by element."""

    def hidden(self, shape: Shape) -> int:
        """Width of the hidden layer."""
        return max(round(self.mlp_ratio * shape.n_embd), 1)

    def parameters(self, name: str, shape: Shape) -> Iterator[Parameter]:
        """Of the MLP of this name."""
        width, hidden = shape.n_embd, self.hidden(shape)
        yield from linear_parameters(f"{name}.fc", width, hidden, shape.bias)
        yield from linear_parameters(f"{name}.proj", hidden, width, shape.bias, shrink=shape.residual_shrink)

    def __call__(self, views: Views, name: str, x: Tensor) -> Tensor:
        """(K, B, T, C) to the same."""
        return linear(views, f"{name}.proj", self.activation(linear(views, f"{name}.fc", x)))
