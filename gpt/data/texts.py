"""Texts of many files: held in memory while they are few, else read anew whenever one is wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

HELD = 1 << 28  # bytes of text, at most, that are held


class Texts(Sequence[bytes]):
    """read: the text of a number. sizes: in bytes, of each. known: the texts, if somebody has read all of them."""

    def __init__(self, read: Callable[[int], bytes], sizes: list[int], known: list[bytes] | None = None) -> None:
        self.sizes = sizes
        held = list(map(read, range(len(sizes)))) if known is None and sum(sizes) <= HELD else known
        self._read = held.__getitem__ if held is not None else read

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, place: int) -> bytes: ...

    @overload
    def __getitem__(self, place: slice) -> list[bytes]: ...

    def __getitem__(self, place: int | slice) -> bytes | list[bytes]:
        if isinstance(place, slice):
            return list(map(self._read, range(*place.indices(len(self)))))
        if place >= len(self):
            raise IndexError(place)
        return self._read(place)
