"""What something that was trained writes, as text: a prompt, and how it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.sample import Choice, stream
from tunemax.gpt.tokenizers import Ids
from tunemax.gpt.trainer import Member, Trainer
from tunemax.search.results.trained import Trained

BEGINNING = 32
"""Tokens of validation text that are the prompt where none is given."""
BOLDNESS = 0.8
"""The temperature where none is given."""


@dataclass(frozen=True)
class Writer:
    """Something that was trained, at a prompt (n,)."""

    trainer: Trainer
    member: Member
    prompt: Ids

    @classmethod
    def of(cls, trained: Trained, prompt: bytes | None) -> Writer:
        """prompt: UTF-8, or any bytes where these are its tokens; None takes the beginning of the validation text.

        Raises TunemaxError for weights that are not there, and for a prompt that it cannot read.
        """
        _check(prompt)
        trainer, member = trained.member()
        if prompt is None:
            return cls(trainer, member, trainer.corpus.slices["tuning"][:BEGINNING].astype("int64"))
        return cls.at(trainer, member, prompt)

    @classmethod
    def at(cls, trainer: Trainer, member: Member, prompt: bytes) -> Writer:
        """The same of a member that is there already."""
        _check(prompt)
        try:
            return cls(trainer, member, trainer.corpus.manifest.codec.tokens(prompt).astype("int64"))
        except TunemaxError as error:
            raise TunemaxError(f"prompt: {error}") from error

    @property
    def unseen(self) -> int:
        """Tokens at the beginning of the prompt that are too far back to be seen."""
        return max(0, len(self.prompt) - self.trainer.model.block_size)

    @property
    def given(self) -> str:
        """The prompt as text."""
        return self.trainer.corpus.decode(self.prompt)

    def written(self, length: int, choice: Choice, count: int, seed: int) -> Iterator[list[str]]:
        """How it goes on, `count` times, piece by piece as tokens are drawn. Raises TunemaxError as `stream` does.

        A piece may be empty: a character whose bytes are several tokens comes with the last of them.
        """
        tokens = stream(self.trainer, self.member, self.prompt, length, choice, count=count, seed=seed)
        return self._pieces(tokens, length, count)

    def _pieces(self, tokens: Iterator[Ids], length: int, count: int) -> Iterator[list[str]]:
        decoders = [self.trainer.corpus.manifest.codec.decoder() for _ in range(count)]
        for number, drawn in enumerate(tokens, 1):
            yield [decode([token], number == length) for decode, token in zip(decoders, drawn, strict=True)]


def _check(prompt: bytes | None) -> None:
    if prompt == b"":
        raise TunemaxError("prompt: empty; give at least one character, or leave it out")
