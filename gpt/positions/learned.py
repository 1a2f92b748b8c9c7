"""A learned table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunemax.gpt.lanes import Views
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.positions.base import Positions
from tunemax.gpt.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor


class Learned(Positions, name="learned"):
    """A vector for each place, added to the token's, as in GPT-2."""

    def parameters(self, shape: Shape) -> Iterator[Parameter]:
        yield Parameter("wpe", (shape.block_size, shape.n_embd), "input", shrink=1.0)

    def embedded(self, views: Views, x: Tensor, before: int) -> Tensor:
        return x + views["wpe"][:, None, before : before + x.shape[-2]]
