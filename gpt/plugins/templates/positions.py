"""Template: what it is for, in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunemax.gpt.fields import Choices, setting
from tunemax.gpt.lazy import torch
from tunemax.gpt.positions.base import Positions

if TYPE_CHECKING:
    from torch import Tensor

__version__ = "1"


class Template(Positions, name="template"):
    """The logit of a key falls with the logarithm of its distance."""

    template_slope: float = setting(1.0, "how fast", ge=0, le=100, search=Choices((0.5, 1.0, 2.0)), shared=True)

    def biases(self, heads: int, before: int, T: int, like: Tensor) -> Tensor | None:
        """What is added to the logits of each head, (H, T, before + T): of the last T tokens of a text."""
        places = torch.arange(before + T, device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))
        far = (places[before:, None] - places).abs()
        return (-self.template_slope * torch.log1p(far)).expand(heads, T, before + T)
