"""Documents that are kept apart: where windows may begin so that none reaches over the end of one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tunemax.gpt.tokenizers import Ids


@dataclass(frozen=True, eq=False)
class Places:
    """Where windows may begin: from `firsts` on, (d,), in as many documents; `ends`: how many places there are in these
    and those before them, (d,)."""

    firsts: Ids
    ends: Ids

    @property
    def count(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def at(self, numbers: Ids) -> Ids:
        """The places of these numbers, from 0 on: (n,), read-only."""
        document = np.searchsorted(self.ends, numbers, side="right")
        before = np.append(0, self.ends)[document]
        offsets: Ids = self.firsts[document] + numbers - before
        offsets.setflags(write=False)
        return offsets


class Documents:
    """Of one part. begins: where each begins, (d,), ascending from 0 on. length: of the part."""

    def __init__(self, begins: Ids, length: int) -> None:
        self.begins = begins
        self._ends = np.append(begins[1:], length)
        self.places = lru_cache(maxsize=64)(self._places)

    def _places(self, block_size: int, first: int, last: int) -> Places:
        """Where windows of block_size + 1 tokens may begin, between these places of the part."""
        begins, ends = self.begins.clip(first, last), self._ends.clip(first, last)
        counts = ends - begins - block_size
        enough = counts > 0
        return Places(begins[enough], counts[enough].cumsum())

    def tiled(self, block_size: int, first: int, last: int) -> Ids:
        """Where windows begin that tile each document, as far as they fit, between these places of the part: (n,)."""
        begins, ends = self.begins.clip(first, last), self._ends.clip(first, last)
        counts = (ends - begins - 1).clip(0) // block_size
        number = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        tiled: Ids = np.repeat(begins, counts) + block_size * number
        return tiled

    def share(self, block_size: int) -> float:
        """Of the tokens, those in documents that are long enough for a window."""
        lengths = self._ends - self.begins
        return float(lengths[lengths > block_size].sum() / lengths.sum())
