"""What an evaluation is of: fixed targets of a slice, the same for every batch, context and tokenizer.

Targets lie in spans of the text, as far as they go by its bytes, and begin and end with characters: tokens of any kind
cover the same text. Windows of a context tile each span. The last one overlaps the one before it and counts only what
is not counted yet; a context longer than the span sees more of the text in front of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from tunemax.gpt.evaluation import LOOK, SPAN
from tunemax.gpt.tokenizers import Ids, Tokenizer, Tokens
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


def spans_of(tokens: Tokens, tokenizer: Tokenizer, count: int, begins: Ids | None = None) -> Ids:
    """First target and end of each span, (n, 2): as many as `count` bytes fill, spread evenly; 0 or too many: all.

    The first character of the slice is no target: nothing is in front of it. begins: where documents begin that are
    kept apart; then the same holds for each of them, and a span that would reach into the next one is two.
    """
    starts, offsets = tokenizer.characters(tokens)
    total = int(tokenizer.bytes_of(tokens).sum())
    begin = int(offsets[1]) if len(offsets) > 1 else total
    whole = -(-(total - begin) // SPAN)
    wanted = -(-count // SPAN)
    chosen = np.arange(wanted) * whole // wanted if 0 < wanted < whole else np.arange(whole)
    bounds = begin + SPAN * (chosen[:, None] + np.arange(2))  # in bytes
    ends = np.append(starts, len(tokens))
    spans: Ids = ends[np.searchsorted(offsets, bounds)]
    if begins is not None:
        spans = _cut(spans, begins, ends[np.searchsorted(starts, begins, side="right")])
    return spans[spans[:, 0] < spans[:, 1]]


def _cut(spans: Ids, begins: Ids, seconds: Ids) -> Ids:
    """Spans cut where documents begin, without the first character of each. seconds: where their second ones begin."""
    rows = []
    for first, end in spans.tolist():
        lowest, highest = np.searchsorted(begins, (first, end))
        cuts = [first]
        for begin, second in zip(begins[lowest:highest].tolist(), seconds[lowest:highest].tolist(), strict=True):
            rows.append((cuts.pop(), begin))
            cuts.append(second)
        rows.append((cuts.pop(), end))
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def targets_of(tokens: Tokens, tokenizer: Tokenizer, spans: Ids, block_size: int, begins: Ids | None = None) -> Targets:
    """The windows of a context over some spans. begins: where documents begin that are kept apart; a window sees none
    before the one of its targets. Where that is short, it goes on behind it, and nothing there counts."""
    firsts = np.zeros(len(spans), np.int64)
    if begins is not None:
        firsts = begins[np.searchsorted(begins, spans[:, 0], side="right") - 1]
    rows = [
        row
        for (first, end), lowest in zip(spans.tolist(), firsts.tolist(), strict=True)
        for row in _tiled(first, end, block_size, lowest)
    ]
    offsets, first, end = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    sizes = np.append(0, tokenizer.bytes_of(tokens).cumsum())
    counted = int((sizes[spans[:, 1]] - sizes[spans[:, 0]]).sum())
    return Targets(offsets, first, end, int((end - first).sum()), counted)


def of_a_look(spans: Ids) -> Ids:
    """Those of an evaluation's spans that a look on the way takes, at least one."""
    return spans[::LOOK]


def _tiled(first: int, end: int, block_size: int, lowest: int = 0) -> list[tuple[int, int, int]]:
    """Offset, first and end of the windows over the targets from `first` on and before `end`; none begins before
    `lowest`."""
    whole = [(start - 1, 0, block_size) for start in range(first, end - block_size + 1, block_size)]
    left = first + block_size * len(whole)
    if left == end:
        return whole
    offset = max(lowest, end - 1 - block_size)
    return [*whole, (offset, left - 1 - offset, end - 1 - offset)]
