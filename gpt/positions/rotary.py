"""Rotary positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunemax.gpt.lazy import torch
from tunemax.gpt.positions.base import Positions

if TYPE_CHECKING:
    from torch import Tensor


class Rotary(Positions, name="rotary"):
    """Queries and keys turned by angles that grow with their place (RoFormer, arXiv 2104.09864, eq. 34)."""

    def check(self, head_width: int) -> None:
        if head_width % 2:
            raise ValueError(f"n_embd / n_head = {head_width} is odd; rotary positions need an even width of a head")

    def turned(self, x: Tensor) -> Tensor:
        T, D = x.shape[-2:]
        dtype = torch.promote_types(x.dtype, torch.float32)
        rates = 10000.0 ** (-torch.arange(0, D, 2, device=x.device, dtype=dtype) / D)
        angles = torch.outer(torch.arange(T, device=x.device, dtype=dtype), rates)  # (T, D/2)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)
