"""Text in units of some 64 kB that are tokenized each by itself, so that memory is bounded whatever the text is.

Where a unit ends follows from the text alone: tokens do not depend on how it was read, nor on how many processes or
threads there are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tunemax.gpt.tokenizers.base import Absent, Tokenizer, Tokens, text_of

UNIT = 1 << 16  # bytes of a unit, until its last line ends; twice as many at most
BATCH = 1 << 20  # bytes that are tokenized at once


def units(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One document, which comes in chunks cut anywhere, in units: each ends behind the first line end from 64 kB on, or
    else behind the last character within 128 kB."""
    left = b""
    for chunk in chunks:
        left += chunk
        start = 0
        while len(left) - start > 2 * UNIT:
            end = _end(left, start)
            yield left[start:end]
            start = end
        left = left[start:]
    while len(left) > UNIT:
        end = _end(left, 0)
        yield left[:end]
        left = left[end:]
    if left:
        yield left


def _end(data: bytes, start: int) -> int:
    line = data.find(b"\n", start + UNIT - 1, start + 2 * UNIT)
    if line >= 0:
        return line + 1
    end = min(start + 2 * UNIT, len(data))
    if end == len(data):
        return end
    while data[end] & 0xC0 == 0x80:
        end -= 1
    return end


class ByUnits(Tokenizer):
    """A tokenizer that cuts text into units, and tokenizes several at once."""

    @abstractmethod
    def encoded(self, texts: list[str]) -> Sequence[Sequence[int]]:
        """Token ids of each text."""

    def tokens(self, data: bytes) -> Tokens:
        return next((ids for ids, _ in self.batches([data])), np.empty(0, dtype=np.uint16))

    def batches(self, pieces: Iterable[bytes]) -> Iterator[tuple[Tokens, int]]:
        whole: list[Tokens] = []
        size = last = 0
        for batch in _batched(pieces):
            encoded = self.encoded([text_of(unit) for _, unit in batch])
            for (number, unit), ids in zip(batch, encoded, strict=True):
                if number != last:
                    if whole:
                        yield np.concatenate(whole), size
                    whole, size, last = [], 0, number
                whole.append(np.array(ids, dtype=np.uint16))
                size += len(unit)
        if whole:
            yield np.concatenate(whole), size


def _batched(pieces: Iterable[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    """Units with the numbers of their pieces, so many at once."""
    batch: list[tuple[int, bytes]] = []
    size = 0
    for number, piece in enumerate(pieces):
        for unit in units([piece]):
            batch.append((number, unit))
            size += len(unit)
            if size >= BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def without(kind: str, package: str) -> Absent:
    """That a package is missing that a tokenizer needs."""
    return Absent(
        f"tokenizer = {kind}: needs the package {package}, which is not installed; pip install 'tunemax[{kind}]'"
    )
