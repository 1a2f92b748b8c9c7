"""A token is a character, its id the place among the characters of the text."""

from __future__ import annotations

from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.tokenizers.base import MOST_TOKENS, Asked, Pieces, Tokenizer, Tokens, text_of


class Char(Tokenizer, name="char"):
    """vocabulary: the characters of all of the text, in ascending order."""

    def __init__(self, vocabulary: str) -> None:
        self.vocabulary: str = vocabulary
        self._known = _code_points(vocabulary)

    @classmethod
    def of(cls, vocabulary: str | None) -> Self:
        if not vocabulary:
            raise TunemaxError("tokenizer = char: has no vocabulary; expected its characters")
        return cls(vocabulary)

    @classmethod
    def made(cls, asked: Asked, train: Pieces, whole: Pieces) -> Self:
        found: set[str] = set()
        for piece in whole():
            found.update(text_of(piece))
        if len(found) > MOST_TOKENS:
            raise TunemaxError(
                f"tokenizer = char: this text has {len(found):,} different characters, and a vocabulary at most "
                f"{MOST_TOKENS:,}; take bpe or byte"
            )
        return cls("".join(sorted(found)))

    @cached_property
    def pieces(self) -> list[bytes]:
        return [character.encode("utf-8", errors="surrogatepass") for character in self.vocabulary]

    def tokens(self, data: bytes) -> Tokens:
        points = _code_points(text_of(data))
        known = self._known
        ids = np.searchsorted(known, points).clip(max=len(known) - 1)
        strange = np.flatnonzero(known[ids] != points)
        if len(strange):
            first = chr(points[strange[0]])
            raise TunemaxError(
                f"character {strange[0] + 1:,} is {first!r}: not one of the {len(known)} characters of this data; "
                "leave it out"
            )
        return ids.astype(np.uint16)


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), "<u4")
