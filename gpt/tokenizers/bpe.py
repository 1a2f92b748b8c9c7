"""Byte pair encoding (Sennrich et al., arXiv 1508.07909) on bytes, as GPT-2 has it, trained on the training text.

Text is cut into words by GPT-2's pattern, and no token reaches over the end of one. The first 256 tokens are the bytes;
each further one joins two of those before it, which stood side by side most often. The `tokenizers` library counts and
joins; what it has found is kept as the list of joins, from which everything else follows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Self

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.tokenizers.base import MOST_TOKENS, Asked, Pieces, text_of
from tunemax.gpt.tokenizers.units import ByUnits, units, without

if TYPE_CHECKING:
    import tokenizers

LEARNED = 100_000_000  # bytes of the training text, at most, that a vocabulary is learned from; spread evenly over it
LEAST = 2  # times that a pair has to stand in it to become a token


def alphabet() -> dict[int, str]:
    """A printable character for each byte, as GPT-2 has them: itself, or for the others one from 256 on, in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte if byte in printable else 256 + others.index(byte)) for byte in range(256)}


BYTE_OF = {character: byte for byte, character in alphabet().items()}


class Bpe(ByUnits, name="bpe"):
    """vocabulary: the joins, a line each, as ``Ġ t``: the two tokens, in the order in which they were found."""

    def __init__(self, joins: Sequence[tuple[str, str]]) -> None:
        self.vocabulary: str = "\n".join(map(" ".join, joins))
        self._joins = joins
        self._ids = dict(BYTE_OF)
        for one, other in joins:
            if one not in self._ids or other not in self._ids:
                raise TunemaxError(
                    f"tokenizer = bpe: its vocabulary joins {one} and {other}, which are no tokens of it"
                )
            self._ids.setdefault(one + other, len(self._ids))
        if len(self._ids) > MOST_TOKENS:
            raise TunemaxError(f"tokenizer = bpe: {len(self._ids):,} tokens, expected at most {MOST_TOKENS:,}")

    @classmethod
    def of(cls, vocabulary: str | None) -> Self:
        lines = [tuple(line.split(" ")) for line in (vocabulary or "").split("\n")]
        if not all(len(line) == 2 for line in lines):
            raise TunemaxError("tokenizer = bpe: expected a vocabulary of two tokens a line")
        return cls([(one, other) for one, other in lines])

    @classmethod
    def made(cls, asked: Asked, train: Pieces, whole: Pieces) -> Self:
        model = _plain()
        from tokenizers import pre_tokenizers, trainers

        trainer = trainers.BpeTrainer(
            vocab_size=asked.vocab_size,
            min_frequency=LEAST,
            show_progress=False,
            special_tokens=[],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        model.train_from_iterator(learned_from(train), trainer)
        joins = json.loads(model.to_str())["model"]["merges"]
        made = cls([(one, other) for one, other in joins])
        if made.vocab_size < asked.vocab_size:
            raise TunemaxError(
                f"vocab_size = {asked.vocab_size}: this text gives {made.vocab_size} tokens; take at most so many"
            )
        return made

    @cached_property
    def pieces(self) -> list[bytes]:
        return [bytes(map(BYTE_OF.__getitem__, token)) for token in self._ids]

    def encoded(self, texts: list[str]) -> list[list[int]]:
        found = self._model.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in found]

    @cached_property
    def _model(self) -> tokenizers.Tokenizer:
        return _plain(self._ids, self._joins)


def learned_from(train: Pieces) -> Iterator[str]:
    """The units of the training text, or as many as fit into `LEARNED`, spread evenly."""
    size, due = max(LEARNED, sum(map(len, train()))), 0
    for piece in train():
        for unit in units([piece]):
            due += LEARNED * len(unit)
            if due >= size * len(unit):
                due -= size * len(unit)
                yield text_of(unit)


def _plain(ids: dict[str, int] | None = None, joins: Sequence[tuple[str, str]] = ()) -> tokenizers.Tokenizer:
    """The library's tokenizer with these tokens. Raises TunemaxError where the library is missing."""
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers
    except ImportError:
        raise without("bpe", "tokenizers") from None
    model = Tokenizer(models.BPE(vocab=ids, merges=list(joins)) if ids else models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return model
