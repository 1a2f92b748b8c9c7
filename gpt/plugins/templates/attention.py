"""Template: what it is for, in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunemax.gpt.attention.base import Attention
from tunemax.gpt.fields import Choices, setting

if TYPE_CHECKING:
    from torch import Tensor

__version__ = "1"


class Template(Attention, name="template"):
    """A query sees its last keys, and of those before them one in so many."""

    template_stride: int = setting(
        2, "keys that are seen, and of those before them one in so many", ge=1, search=Choices((1, 2, 4)), shared=True
    )

    def seen(self, distance: Tensor) -> Tensor | None:
        """Where a key may be seen that lies so many places (T, T) before its query."""
        near = (distance < self.template_stride) | (distance % self.template_stride == 0)
        return near & (distance < self.window)
