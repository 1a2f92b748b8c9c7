"""ALiBi."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunemax.gpt.lazy import torch
from tunemax.gpt.positions.base import Positions

if TYPE_CHECKING:
    from torch import Tensor


class Alibi(Positions, name="alibi"):
    """The further back a key, the lower its logit: m (j − i) is added, with m = 2^(−8h / H) for head h = 1 … H (Press
    et al., arXiv 2108.12409)."""

    relative = True

    def biases(self, heads: int, before: int, T: int, like: Tensor) -> Tensor | None:
        dtype = torch.promote_types(like.dtype, torch.float32)  # in bf16 place 257 is 256
        number = torch.arange(1, heads + 1, device=like.device, dtype=dtype)
        places = torch.arange(before + T, device=like.device, dtype=dtype)
        return torch.exp2(-8 * number / heads)[:, None, None] * (places - places[before:, None])
