"""Rotary positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunemax.gpt.fields import Choices, Value, setting, shown
from tunemax.gpt.lazy import torch
from tunemax.gpt.positions.base import Positions

if TYPE_CHECKING:
    from torch import Tensor


class Rotary(Positions, name="rotary", aliases=("rope",)):
    """Queries and keys turned by angles that grow with their place (RoFormer, arXiv 2104.09864, eq. 34)."""

    relative = True

    rope_base: float = setting(
        10000.0,
        "pair i of r numbers is turned by place · base^(−2i / r); a larger base turns most of them more slowly",
        gt=1,
        le=1e9,
        search=Choices((1000.0, 10000.0, 100000.0)),
        shared=True,
        neutral=10000.0,
    )
    rope_share: float = setting(
        1.0,
        "share of a head's numbers that are turned; the rest does not know where it stands",
        gt=0,
        le=1,
        search=Choices((0.5, 1.0)),
        shared=True,
        neutral=1.0,
    )

    def check(self, head_width: int, slices: int = 1) -> None:
        turned = self.rope_share * head_width
        if abs(turned - 2 * round(turned / 2)) > 1e-6:
            share = f"rope_share = {shown(self.rope_share)} of it is {turned:g}; " if self.rope_share < 1 else ""
            raise ValueError(
                f"a head's width is {head_width}; {share}rotary positions turn pairs of numbers: choose an even width"
            )
        if slices > 1 and head_width % (2 * slices):
            raise ValueError(
                f"a head's width is {head_width}, and attention cuts a head into {slices} slices; rotary positions "
                f"turn pairs of numbers, which no cut may part: choose a head_dim that is a multiple of {2 * slices}"
            )

    def canonical(self, config: Any) -> Mapping[str, Value]:
        """How many pairs are turned decides; the first of them is turned by its place, whatever the base."""
        width = config.attention.head_width(config.model)
        pairs, default = self.pairs(width), type(self).model_fields["rope_base"].default
        if not pairs:
            return {"position": "none"}
        return {"rope_share": 2 * pairs / width, **({"rope_base": default} if pairs == 1 else {})}

    def pairs(self, head_width: int) -> int:
        """How many pairs of a head's numbers are turned."""
        return round(self.rope_share * head_width) // 2

    def turned(self, x: Tensor, before: int, neighbours: bool = False) -> Tensor:
        D = 2 * self.pairs(x.shape[-1])
        if x.shape[-1] > D:
            return torch.cat((self._turned(x[..., :D], before, neighbours), x[..., D:]), dim=-1)
        return self._turned(x, before, neighbours)

    def _turned(self, x: Tensor, before: int, neighbours: bool) -> Tensor:
        T, D = x.shape[-2:]
        dtype = torch.promote_types(x.dtype, torch.float32)
        rates = self.rope_base ** (-torch.arange(0, D, 2, device=x.device, dtype=dtype) / D)
        places = torch.arange(before, before + T, device=x.device, dtype=dtype)
        angles = torch.outer(places, rates)  # (T, D/2)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        a, b = (x[..., 0::2], x[..., 1::2]) if neighbours else x.chunk(2, dim=-1)
        pairs = (a * cos - b * sin, a * sin + b * cos)
        return torch.stack(pairs, dim=-1).flatten(-2) if neighbours else torch.cat(pairs, dim=-1)
