"""The contract of positions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from tunemax.gpt.lanes import Views
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.parts import Part
from tunemax.gpt.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor


class Positions(Part, field="position", noun="position"):
    """How a model knows where a token stands: by what is added to the tokens' embeddings, or how queries and keys meet.

    Whatever a kind does not override tells nothing. Tokens may come in parts: those of a text with so many `before`
    them stand at the places from there on.
    """

    relative: ClassVar[bool] = False
    """Whether nothing changes when all tokens are moved by as many places."""

    def check(self, head_width: int, slices: int = 1) -> None:
        """Raise ValueError for heads that it cannot do. slices: into how many attention cuts one of them, at most."""

    def parameters(self, shape: Shape) -> Iterator[Parameter]:
        """Of a member."""
        yield from ()

    def embedded(self, views: Views, x: Tensor, before: int) -> Tensor:
        """Embeddings (K, B, T, C) that know where they stand."""
        return x

    def turned(self, x: Tensor, before: int, neighbours: bool = False) -> Tensor:
        """Queries or keys (K, B, H, T, D), such that their products know how far they are apart.

        neighbours: numbers that belong together must stand side by side, since a head will be cut into slices.
        """
        return x

    def biases(self, heads: int, before: int, T: int, like: Tensor) -> Tensor | None:
        """What is added to the logits of each head, (H, T, before + T); None for nothing."""
        return None
