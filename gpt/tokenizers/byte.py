"""A token is a byte of the text, whatever the text is."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.tokenizers.base import Asked, Ids, Pieces, Tokenizer, Tokens


class Byte(Tokenizer, name="byte"):
    """Bytes of the UTF-8 text; its vocabulary has nothing to be learned."""

    reads_text = False
    vocabulary = None

    @classmethod
    def of(cls, vocabulary: str | None) -> Self:
        if vocabulary is not None:
            raise TunemaxError("tokenizer = byte: has no vocabulary")
        return cls()

    @classmethod
    def made(cls, asked: Asked, train: Pieces, whole: Pieces) -> Self:
        return cls()

    @cached_property
    def pieces(self) -> list[bytes]:
        return [bytes([byte]) for byte in range(256)]

    def tokens(self, data: bytes) -> Tokens:
        """Of any bytes."""
        return np.frombuffer(data, np.uint8).astype(np.uint16)

    def bytes_in(self, ids: npt.ArrayLike) -> bytes:
        array = np.asarray(ids)
        return array.astype(np.uint8).tobytes() if array.dtype == np.uint16 and _small(array) else super().bytes_in(ids)

    def characters(self, tokens: Tokens) -> tuple[Ids, Ids]:
        """A byte belongs to the character before it if it can only follow one, and the one that leads it is near."""
        follows = (tokens & 0xC0) == 0x80
        leads = np.concatenate((np.zeros(3, dtype=bool), tokens >= 0xC0))
        led = leads[2:-1] | leads[1:-2] | leads[:-3]
        starts: Any = np.flatnonzero(~(follows & led))
        return starts, starts


def _small(array: npt.NDArray[np.uint16]) -> bool:
    return not len(array) or int(array.max()) < 256
