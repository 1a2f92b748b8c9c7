"""The contract of a norm."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunemax.gpt.lanes import Views
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.parts import Part
from tunemax.gpt.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor


class Norm(Part, field="norm", noun="norm"):
    """What keeps the size of activations about equal, token by token."""

    @abstractmethod
    def parameters(self, name: str, shape: Shape) -> Iterator[Parameter]:
        """Of the norm of this name."""

    @abstractmethod
    def __call__(self, views: Views, name: str, x: Tensor) -> Tensor:
        """x (K, B, T, C) normalised, with each member's own parameters."""
