"""No norm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunemax.gpt.lanes import Views
from tunemax.gpt.norm.base import Norm
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor


class NoNorm(Norm, name="none"):
    """Activations as they are."""

    def parameters(self, name: str, shape: Shape) -> Iterator[Parameter]:
        yield from ()

    def __call__(self, views: Views, name: str, x: Tensor) -> Tensor:
        return x
