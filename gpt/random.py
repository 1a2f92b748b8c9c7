"""Named, seeded randomness: a draw says whose it is and what for, and can be made again; no global RNG is touched."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tunemax.gpt.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def key(seed: int, *words: str | int) -> int:
    """A 63-bit seed that is a function of a seed and of words that name a use of it."""
    text = "/".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *words: str | int) -> torch.Generator:
    """A CPU generator for one named use of a seed."""
    return torch.Generator().manual_seed(key(seed, *words))


class Dropout:
    """Dropout of K stacked members, each with its own rate; masks are a function of (seed, iteration, site) alone."""

    def __init__(self, rates: list[float], seeds: list[int], iterations: list[int]) -> None:
        self.members = list(zip(rates, seeds, iterations, strict=True))

    def __call__(self, x: Tensor, site: str) -> Tensor:
        """x: (K, ...). Drops entries and scales up the rest, member by member."""
        return x * self.mask(site, x.shape, x.dtype).to(x.device) if any(rate for rate, _, _ in self.members) else x

    def mask(self, site: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """What x of this shape (K, ...) is multiplied with: 0 where it is dropped."""
        mask = torch.ones(shape, dtype=dtype)
        for row, (rate, seed, iteration) in zip(mask, self.members, strict=True):
            if rate:
                row.bernoulli_(1 - rate, generator=generator(seed, "dropout", iteration, site)).div_(1 - rate)
        return mask

    def of(self, rows: slice) -> Dropout | None:
        """The same for some of the members; None if nothing of theirs is dropped."""
        rates, seeds, iterations = (list(column) for column in zip(*self.members[rows], strict=True))
        return Dropout(rates, seeds, iterations) if any(rates) else None
