"""What a tokenizer is: text to token ids and back, and how many bytes of text each token stands for."""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from tunemax.gpt.errors import TunemaxError, did_you_mean

Tokens = npt.NDArray[np.uint16]
Ids = npt.NDArray[np.int64]
Pieces = Callable[[], Iterable[bytes]]
"""A text, as often as it is asked for: in pieces, each of whole characters where the tokenizer reads text."""
AUTO = "auto"
"""Where a tokenizer is asked for: the dataset's own."""
MOST_TOKENS = 1 << 16
"""Of a vocabulary: a token is kept in two bytes."""


class Asked(Protocol):
    """What may be asked of a tokenizer: fields of `Text`."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def encoding(self) -> str: ...


class Absent(TunemaxError):
    """What a tokenizer needs is not on this machine: the text and its tokens are as they should be."""


class Tokenizer(ABC):
    """Text to token ids and back.

    A kind is a subclass with a name, in a module of its own; the name is its value of `tokenizer`. What a tokenizer has
    learned of a text is its `vocabulary`, one string from which it can be made again: prepared data keep it, and it is
    a part of their fingerprint.
    """

    kind: ClassVar[str]
    reads_text: ClassVar[bool] = True
    """Whether it takes characters; else any bytes."""
    registry: ClassVar[dict[str, type[Tokenizer]]] = {}
    vocabulary: str | None

    def __init_subclass__(cls, name: str = "", **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if name:
            cls.kind = name
            if cls.registry.setdefault(name, cls) is not cls:
                raise TypeError(f"tokenizer name {name!r} is taken")

    @staticmethod
    def find(name: str) -> type[Tokenizer]:
        """The kind of this name. Raises TunemaxError for an unknown one."""
        known = Tokenizer.registry
        if name not in known:
            raise TunemaxError(f"tokenizer = {name}: no such tokenizer{did_you_mean(name, [AUTO, *known])}")
        return known[name]

    @classmethod
    @abstractmethod
    def of(cls, vocabulary: str | None) -> Self:
        """The one that was kept with some data. Raises TunemaxError for a vocabulary that is none."""

    @classmethod
    @abstractmethod
    def made(cls, asked: Asked, train: Pieces, whole: Pieces) -> Self:
        """The one for a text. train: the part of it that is trained on, the only one to learn from; whole: all of it.

        Raises TunemaxError where there can be none as it is asked for.
        """

    @property
    @abstractmethod
    def pieces(self) -> list[bytes]:
        """The text that each token stands for, by id."""

    @abstractmethod
    def tokens(self, data: bytes) -> Tokens:
        """Token ids of UTF-8 text, (n,). Raises TunemaxError for text that it has no tokens for, or that is none."""

    def batches(self, pieces: Iterable[bytes]) -> Iterator[tuple[Tokens, int]]:
        """Token ids of each piece of a text, and its bytes; the pieces are tokenized one by one."""
        for piece in pieces:
            yield self.tokens(piece), len(piece)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and (self.kind, self.vocabulary) == (other.kind, other.vocabulary)

    def __hash__(self) -> int:
        return hash((self.kind, self.vocabulary))

    @cached_property
    def vocab_size(self) -> int:
        return len(self.pieces)

    @cached_property
    def _sizes(self) -> Ids:
        return np.array([len(piece) for piece in self.pieces], dtype=np.int64)

    @cached_property
    def _leads(self) -> npt.NDArray[np.bool_]:
        """Whether a token begins with the first byte of a character."""
        return np.array([not 0x80 <= (piece or b"\0")[0] < 0xC0 for piece in self.pieces])

    def bytes_of(self, tokens: Tokens) -> Ids:
        """Bytes of UTF-8 text that each token stands for, (n,)."""
        return self._sizes[tokens]

    def characters(self, tokens: Tokens) -> tuple[Ids, Ids]:
        """Where tokens begin a character: as places among them, and as bytes from the first one on, (n,) each."""
        sizes = self.bytes_of(tokens)
        starts = np.flatnonzero(self._leads[tokens])
        offsets: Ids = (sizes.cumsum() - sizes)[starts]
        return starts, offsets

    def encode(self, text: str) -> Tokens:
        """Token ids, (n,). Raises TunemaxError for a character outside the vocabulary."""
        return self.tokens(text.encode("utf-8", errors="replace"))

    def bytes_in(self, ids: npt.ArrayLike) -> bytes:
        """The bytes that token ids stand for. Raises TunemaxError for an id that does not exist."""
        array = np.asarray(ids, dtype=np.int64).reshape(-1)
        outside = array[(array < 0) | (array >= self.vocab_size)]
        if len(outside):
            raise TunemaxError(
                f"token id {outside[0]}: expected 0 to {self.vocab_size - 1}, the ids of this data's vocabulary"
            )
        return b"".join(map(self.pieces.__getitem__, array.tolist()))

    def decode(self, ids: npt.ArrayLike) -> str:
        """Text of token ids; bytes that are no UTF-8 become `�`. Raises TunemaxError for an id that does not exist."""
        return self.bytes_in(ids).decode("utf-8", errors="replace")

    def decoder(self) -> Callable[[npt.ArrayLike, bool], str]:
        """Text of token ids that come little by little: a function of the next ids, and of whether they are the last.

        A character whose bytes are several tokens comes with the last of them.
        """
        utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        return lambda ids, last: utf8.decode(self.bytes_in(ids), last)


def text_of(data: bytes) -> str:
    """UTF-8 as text. Raises TunemaxError for what is none."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise TunemaxError(f"byte {error.start + 1} is not UTF-8, in which text is; convert it") from error
