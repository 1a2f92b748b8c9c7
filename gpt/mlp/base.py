"""The contract of an MLP."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tunemax.gpt.fields import Choices, Value, setting
from tunemax.gpt.lanes import Views
from tunemax.gpt.linear import linear, linear_parameters
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.parts import Part
from tunemax.gpt.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor


class Mlp(Part, field="mlp", noun="MLP"):
    """W₂ f(W₁ x): what a block makes of each token by itself. A kind says what f is."""

    matrices: ClassVar[int] = 2
    """How many it has, each of n_embd times the hidden width."""

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

    mlp_compensates: bool = setting(
        False,
        "the MLP is wider by as many weights as attention lacks of 4 n_embd², or narrower, so that attention kinds are "
        "compared at equal parameters",
        search=Choices((False, True)),
        shared=True,
        neutral=False,
    )

    @abstractmethod
    def activation(self, x: Tensor) -> Tensor:
        """f, element by element."""

    def canonical(self, config: Any) -> Mapping[str, Value]:
        """The hidden width decides, whatever makes it: the ratio is the shortest number that does so by itself."""
        shape, attention = config.model, config.attention.weights(config.model)
        hidden = self.hidden(shape, attention)
        exact = hidden * self.matrices / (2 * shape.n_embd)
        for ratio in (round(exact, digits) for digits in itertools.count()):
            plain = {"mlp_ratio": ratio, "mlp_compensates": False}
            if ratio > 0 and self.model_copy(update=plain).hidden(shape, attention) == hidden:
                return plain
        raise AssertionError("unreachable: rounded to enough digits it is exact")

    def hidden(self, shape: Shape, attention: int) -> int:
        """Width of the hidden layer, beside an attention with so many weights; as in Llama 2, arXiv 2307.09288, A.2.1,
        if it compensates for them."""
        return max(round(self._weights(shape, attention) / (self.matrices * shape.n_embd)), 1)

    def _weights(self, shape: Shape, attention: int) -> float:
        """How many it should have, about."""
        lacking = 4 * shape.n_embd**2 - attention if self.mlp_compensates else 0
        return 2 * self.mlp_ratio * shape.n_embd**2 + lacking

    def parameters(self, name: str, shape: Shape, attention: int) -> Iterator[Parameter]:
        """Of the MLP of this name, beside an attention with so many weights."""
        width, hidden = shape.n_embd, self.hidden(shape, attention)
        yield from linear_parameters(f"{name}.fc", width, hidden, shape.bias)
        yield from linear_parameters(f"{name}.proj", hidden, width, shape.bias, shrink=shape.residual_shrink)

    def __call__(self, views: Views, name: str, x: Tensor) -> Tensor:
        """(K, B, T, C) to the same."""
        return linear(views, f"{name}.proj", self.activation(linear(views, f"{name}.fc", x)))
