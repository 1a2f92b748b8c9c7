"""Vocabularies that are known under a name, by the `tiktoken` library: gpt2, and whatever plug-ins it has.

The library fetches a vocabulary's files once and keeps them in TIKTOKEN_CACHE_DIR.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Self

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.tokenizers.base import MOST_TOKENS, Absent, Asked, Pieces
from tunemax.gpt.tokenizers.units import ByUnits, without

if TYPE_CHECKING:
    import tiktoken


class Tiktoken(ByUnits, name="tiktoken"):
    """vocabulary: its name, and a digest of its tokens."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding
        if encoding.n_vocab > MOST_TOKENS:
            raise TunemaxError(
                f"encoding = {encoding.name}: has {encoding.n_vocab:,} tokens, and a vocabulary here at most "
                f"{MOST_TOKENS:,}; take gpt2"
            )
        whole = b"".join(len(piece).to_bytes(4, "little") + piece for piece in self.pieces)
        self.vocabulary: str = f"{encoding.name} {hashlib.sha256(whole).hexdigest()}"

    @classmethod
    def of(cls, vocabulary: str | None) -> Self:
        name = (vocabulary or "").partition(" ")[0]
        found = cls(_encoding(name))
        if found.vocabulary != vocabulary:
            raise TunemaxError(f"encoding = {name}: tiktoken has other tokens here than the text was made into")
        return found

    @classmethod
    def made(cls, asked: Asked, train: Pieces, whole: Pieces) -> Self:
        return cls(_encoding(asked.encoding))

    @cached_property
    def pieces(self) -> list[bytes]:
        def piece(token: int) -> bytes:
            try:
                return self._encoding.decode_single_token_bytes(token)
            except KeyError:  # some have gaps
                return b""

        return [piece(token) for token in range(self._encoding.n_vocab)]

    def encoded(self, texts: list[str]) -> list[list[int]]:
        return self._encoding.encode_ordinary_batch(texts, num_threads=1)


def _encoding(name: str) -> tiktoken.Encoding:
    try:
        import tiktoken
    except ImportError:
        raise without("tiktoken", "tiktoken") from None
    known = tiktoken.list_encoding_names()
    if name not in known:
        raise TunemaxError(f"encoding = {name}: tiktoken has none of this name{did_you_mean(name, known)}")
    try:
        return tiktoken.get_encoding(name)
    except Exception as error:  # whatever its HTTP library raises
        reason = type(error).__name__
        fetch = f'python -c "import tiktoken; tiktoken.get_encoding({name!r})"'
        raise Absent(
            f"encoding = {name}: tiktoken's files of it are not here, and cannot be fetched ({reason}); run {fetch} "
            "where there is a network, with TIKTOKEN_CACHE_DIR set, and bring that folder"
        ) from error
