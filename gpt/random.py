"""Named, seeded randomness: every draw says whose it is and what for, so it can be made again. The global RNG is never touched."""

from __future__ import annotations

import hashlib

import torch
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

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # generators and seeds are Python's
    def __call__(self, x: Tensor, site: str) -> Tensor:
        """x: (K, ...). Drops entries and scales up the rest, member by member."""
        if not any(rate for rate, _, _ in self.members):
            return x
        mask = torch.ones(x.shape, dtype=x.dtype)
        for row, (rate, seed, iteration) in zip(mask, self.members, strict=True):
            if rate:
                row.bernoulli_(1 - rate, generator=generator(seed, "dropout", iteration, site)).div_(1 - rate)
        return x * mask.to(x.device)
