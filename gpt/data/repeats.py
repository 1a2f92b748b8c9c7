"""Passages that stand in a text more than once: found to be cut out before a text is split, and counted afterwards.

A window is hashed to 64 bits, and equal hashes count as equal text: by chance two of a billion windows are equal with a
probability of 3 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tunemax.gpt.data.manifest import SLICES, Part
from tunemax.gpt.progress import advanced

Hashes = npt.NDArray[np.uint64]
Passages = list[tuple[int, int]]

SPAN = 64  # bytes: what of a slice stands in `train` in one piece of this length has leaked
WINDOW, STEP = 56, 8  # a passage of 63 bytes or more holds a window that begins at a multiple of 8 in the earlier text
INDEXED = 1 << 22  # windows that are held in memory at once; a text with more of them is read several times
COUNTED = 200_000  # spans of a slice, evenly spread, of which the leaked ones are counted
_CHUNK = 1 << 18  # bytes hashed at once, so that what is made of them fits into a cache
_FACTORS = np.random.Philox(key=7).random_raw(10) | np.uint64(1)


def repeated(texts: Sequence[bytes], indexed: int = INDEXED) -> list[Passages]:
    """The passages of each text that stood in one before it: start and end, in order, apart from each other.

    Every passage of 64 bytes or more is found, and some from 56 on. What is repeated inside of one text alone is none.
    indexed: windows to hold in memory at once.
    """
    reads = 1 + sum(map(len, texts)) // STEP // indexed
    found: list[list[npt.NDArray[np.int64]]] = [[] for _ in texts]
    for turn in range(reads):
        known, owners = _indexed(texts, turn, reads)
        look = _lookup(known)
        for own, text in enumerate(texts):
            for start, hashes in _hashed(text, WINDOW):
                places, entries = look(hashes)
                found[own].append(start + places[owners[entries] < own])
    return [_joined(np.sort(np.concatenate(starts))) if starts else [] for starts in found]


def whole_lines(text: bytes, passages: Passages) -> Passages:
    """The passages, each grown to all of the lines whose words it touches, where they end within a span of it."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
    edges = np.concatenate([[0], ends, [len(text)]])
    grown: Passages = []
    for start, end in passages:
        words = text[start:end]
        if words.strip():
            start, end = end - len(words.lstrip()), start + len(words.rstrip())
        before = int(edges[np.searchsorted(edges, start, "right") - 1])
        behind = int(edges[np.searchsorted(edges, end, "left")])
        start, end = (before if start - before <= SPAN else start), (behind if behind - end <= SPAN else end)
        if grown and start <= grown[-1][1]:
            start, end = grown[-1][0], max(end, grown.pop()[1])
        grown.append((start, end))
    return grown


def without(text: bytes, passages: Passages) -> bytes:
    """What is left of a text."""
    starts = [0, *(end for _, end in passages)]
    ends = [*(start for start, _ in passages), len(text)]
    return b"".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def leaks(
    texts: Mapping[Part, Iterable[bytes]], sizes: Mapping[Part, int], counted: int = COUNTED
) -> dict[Part, float]:
    """The share of each slice's spans of 64 bytes that stand, as they are, in `train`; 0 for a slice without any.

    texts: of each part, in chunks cut anywhere; sizes: in bytes. counted: the most spans of a slice to look at; they
    are spread evenly over it.
    """
    spans: dict[Part, Hashes] = {}
    for part in SLICES:
        step = max(1, sizes[part] // counted)
        found = [hashes[-start % step :: step].copy() for start, hashes in _streamed(texts[part], SPAN)]
        spans[part] = np.concatenate([np.empty(0, np.uint64), *found])
    known = np.unique(np.concatenate(list(spans.values())))
    look, leaked = _lookup(known), np.zeros(len(known), bool)
    done = 0
    for _, hashes in _streamed(texts["train"], SPAN):
        leaked[look(hashes)[1]] = True
        done += len(hashes)
        advanced("spans looked for in train", done, max(done, sizes["train"] - SPAN + 1))
    return {
        part: float(leaked[np.searchsorted(known, hashes)].mean()) if len(hashes) else 0.0
        for part, hashes in spans.items()
    }


def _streamed(chunks: Iterable[bytes], width: int) -> Iterator[tuple[int, Hashes]]:
    """As `_hashed`, of a text that comes in chunks."""
    left, passed = b"", 0
    for chunk in chunks:
        text = left + chunk
        yield from ((passed + start, hashes) for start, hashes in _hashed(text, width))
        left = text[max(0, len(text) - width + 1) :]
        passed += len(text) - len(left)


def _hashed(text: bytes, width: int) -> Iterator[tuple[int, Hashes]]:
    """Hashes of the windows that begin at each place of a text, and where the first of them begins, in chunks.

    A window is `width` / 8 words of 8 bytes. Each word is mixed by itself first: in a plain sum of products, windows
    that differ only in the last bytes of two words would often be equal.
    """
    for start in range(0, len(text) - width + 1, _CHUNK):
        piece = text[start : start + _CHUNK + width - 1]
        words: Hashes = np.ndarray((len(piece) - 7,), "<u8", piece, strides=(1,))
        mixed = words * _FACTORS[8]
        mixed ^= mixed >> np.uint64(32)
        mixed *= _FACTORS[9]
        mixed ^= mixed >> np.uint64(29)
        count = len(piece) - width + 1
        hashes = mixed[:count] * _FACTORS[0]
        for word in range(1, width // 8):
            hashes += mixed[8 * word : 8 * word + count] * _FACTORS[word]
        hashes ^= hashes >> np.uint64(31)
        yield start, hashes


def _indexed(texts: Sequence[bytes], turn: int, turns: int) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """The different hashes at every eighth place, sorted, and which text had each first: this turn's share of them."""
    hashes: list[Hashes] = [np.empty(0, np.uint64)]
    counts = []
    for text in texts:
        of_text = [some[::STEP] for _, some in _hashed(text, WINDOW)]  # a chunk is a multiple of 8
        kept = [some[some % np.uint64(turns) == turn] for some in of_text]
        hashes += kept
        counts.append(sum(map(len, kept)))
    known, first = np.unique(np.concatenate(hashes), return_index=True)
    return known, np.repeat(np.arange(len(texts)), counts)[first]


def _lookup(known: Hashes) -> Callable[[Hashes], tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """A function from hashes to the places of those that are known, and where in `known` they are.

    Most are not. A table of the first bits sorts those out, since a search takes twenty times as long.
    """
    bits = min(28, max(1, (16 * len(known)).bit_length()))
    shift, padded = np.uint64(64 - bits), np.append(known, np.uint64(0))
    table = np.zeros(1 << bits, bool)
    table[known >> shift] = True

    def look(hashes: Hashes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        places = np.flatnonzero(table[hashes >> shift])
        entries = np.searchsorted(known, hashes[places])
        right = padded[entries] == hashes[places]
        right &= entries < len(known)
        return places[right], entries[right]

    return look


def _joined(starts: npt.NDArray[np.int64]) -> Passages:
    """Windows that overlap or touch, as one passage."""
    if not len(starts):
        return []
    breaks = np.flatnonzero(np.diff(starts) > WINDOW) + 1
    first, last = starts[np.concatenate([[0], breaks])], starts[np.concatenate([breaks - 1, [len(starts) - 1]])]
    return list(zip(first.tolist(), (last + WINDOW).tolist(), strict=True))
