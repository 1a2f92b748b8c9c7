"""What an evaluation is of: fixed targets of a slice, the same for every batch, context and tokenizer.

Targets lie in spans of the text, as far as they go by its bytes, and begin and end with characters: tokens of any kind
cover the same text. Windows of a context tile each span. The last one overlaps the one before it and counts only what
is not counted yet; a context longer than the span sees more of the text in front of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tunemax.gpt.data.manifest import Ids, Tokenizer, Tokens
from tunemax.gpt.evaluation import LOOK, SPAN
from tunemax.gpt.train_config import TrainConfig


@dataclass(frozen=True)
class Asked:
    """What a member is evaluated on: so many tokens of a slice, or a look's part of them; by the rule of older
    versions so many windows."""

    slice: str
    tokens: int = 0
    look: bool = False
    windows: int | None = None

    @classmethod
    def of(cls, train: TrainConfig, look: bool, part: str | None = None) -> Self:
        """By a configuration, on its own slice or another one."""
        where = part or train.eval_slice
        if train.eval_by == "windows":
            return cls(where, windows=train.eval_iters * train.batch_size)
        return cls(where, train.eval_tokens, look)


@dataclass(frozen=True, eq=False)
class Targets:
    """Windows over the targets of one evaluation, for one context T.

    offsets: where each window begins, (n,). first, end: which of its T targets count, from the first on and before the
    end, (n,) each; all together count every target once. tokens, bytes: how many these are, and of how much text.
    """

    offsets: Ids
    first: Ids
    end: Ids
    tokens: int
    bytes: int

    def counted(self, block_size: int) -> npt.NDArray[np.float64]:
        """1 for each target that counts, else 0: (n, T)."""
        places = np.arange(block_size)
        return ((places >= self.first[:, None]) & (places < self.end[:, None])).astype(np.float64)


def spans_of(tokens: Tokens, tokenizer: Tokenizer, count: int) -> Ids:
    """First target and end of each span, (n, 2): as many as `count` bytes fill, spread evenly; 0 or too many: all.

    The first character of the slice is no target: nothing is in front of it.
    """
    starts, offsets = _characters(tokens, tokenizer)
    total = int(tokenizer.bytes_of(tokens).sum())
    begin = int(offsets[1]) if len(offsets) > 1 else total
    whole = -(-(total - begin) // SPAN)
    wanted = -(-count // SPAN)
    chosen = np.arange(wanted) * whole // wanted if 0 < wanted < whole else np.arange(whole)
    bounds = begin + SPAN * (chosen[:, None] + np.arange(2))  # in bytes
    ends = np.append(starts, len(tokens))
    spans: Ids = ends[np.searchsorted(offsets, bounds)]
    return spans[spans[:, 0] < spans[:, 1]]


def targets_of(tokens: Tokens, tokenizer: Tokenizer, spans: Ids, block_size: int) -> Targets:
    """The windows of a context over some spans."""
    rows = [row for first, end in spans.tolist() for row in _tiled(first, end, block_size)]
    offsets, first, end = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    sizes = np.append(0, tokenizer.bytes_of(tokens).cumsum())
    counted = int((sizes[spans[:, 1]] - sizes[spans[:, 0]]).sum())
    return Targets(offsets, first, end, int((end - first).sum()), counted)


def of_a_look(spans: Ids) -> Ids:
    """Those of an evaluation's spans that a look on the way takes, at least one."""
    return spans[::LOOK]


def _tiled(first: int, end: int, block_size: int) -> list[tuple[int, int, int]]:
    """Offset, first and end of the windows over the targets from `first` on and before `end`."""
    whole = [(start - 1, 0, block_size) for start in range(first, end - block_size + 1, block_size)]
    left = first + block_size * len(whole)
    if left == end:
        return whole
    offset = max(0, end - 1 - block_size)
    return [*whole, (offset, left - 1 - offset, end - 1 - offset)]


def _characters(tokens: Tokens, tokenizer: Tokenizer) -> tuple[Ids, Ids]:
    """Where characters begin, as places among the tokens and as bytes from the first one, (n,) each.

    A byte belongs to the character before it if it can only follow one, and the one that leads it is near enough.
    """
    if tokenizer.vocabulary is not None:
        sizes = tokenizer.bytes_of(tokens)
        return np.arange(len(tokens)), sizes.cumsum() - sizes
    follows = (tokens & 0xC0) == 0x80
    leads = np.concatenate((np.zeros(3, dtype=bool), tokens >= 0xC0))
    led = leads[2:-1] | leads[1:-2] | leads[:-3]
    starts: Any = np.flatnonzero(~(follows & led))
    return starts, starts
