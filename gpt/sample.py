"""Text from a member: tokens drawn one after the other from what it expects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tunemax.gpt.cache import Cache
from tunemax.gpt.config import Config
from tunemax.gpt.draw import drawn, expected
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.random import generator
from tunemax.gpt.tokenizers import Ids
from tunemax.gpt.trainer import Member, Trainer


@dataclass(frozen=True)
class Choice:
    """How the next token is chosen. As it is here, it is drawn from what the member expects."""

    temperature: float = 1.0
    """Divides the logits: a low one takes what is likely, and 0 always takes the likeliest."""
    top_k: int | None = None
    """Only from so many tokens, the likeliest; None: from all."""
    top_p: float = 1.0
    """Only from the likeliest tokens that together have this share (Holtzman et al., arXiv 1904.09751, section 3.1)."""
    min_p: float = 0.0
    """Only from tokens that are at least this share as likely as the likeliest (Nguyen et al., arXiv 2407.01082)."""
    repetition_penalty: float = 1.0
    """Divides the positive logits of tokens that the member sees, and multiplies the negative ones (Keskar et al.,
    arXiv 1909.05858, section 4.1, whose formula raises these)."""

    def check(self, vocab_size: int) -> None:
        """Raise TunemaxError for a number that says nothing."""
        for name, possible, wanted in (
            ("temperature", self.temperature >= 0, "a number ≥ 0; 0 takes the likeliest"),
            ("top_k", self.top_k is None or self.top_k >= 1, "a whole number ≥ 1"),
            ("top_p", 0 < self.top_p <= 1, "a share above 0, at most 1; 1 leaves out nothing"),
            ("min_p", 0 <= self.min_p <= 1, "a share from 0 to 1; 0 leaves out nothing"),
            ("repetition_penalty", self.repetition_penalty > 0, "a number above 0; 1 changes nothing"),
        ):
            value = getattr(self, name)
            if not possible or not math.isfinite(value or 0):
                raise TunemaxError(f"{name} = {value}: expected {wanted}")
        if self.top_k is not None and self.top_k > vocab_size:
            raise TunemaxError(f"top_k = {self.top_k}: this data has {vocab_size} tokens; take at most so many")


def generate(
    trainer: Trainer,
    member: Member,
    prompt: npt.ArrayLike,
    tokens: int,
    choice: Choice | None = None,
    *,
    count: int = 1,
    seed: int = 0,
) -> Ids:
    """Continue a prompt of token ids (n,) by so many tokens, `count` times side by side: (count, tokens) int64.

    The member sees as many of the last tokens as its context holds. What comes out follows from the weights and the
    arguments, and a continuation does not depend on how many there are (but for rounding); neither training nor the
    global generators are touched. choice: how tokens are chosen; by default drawn as the member expects them. Raises
    TunemaxError for an empty prompt, or one that is outside the vocabulary, for a number that says nothing, and for a
    member that has diverged.
    """
    written = list(stream(trainer, member, prompt, tokens, choice, count=count, seed=seed))
    return np.stack(written, axis=1) if written else np.empty((count, 0), dtype=np.int64)


def stream(
    trainer: Trainer,
    member: Member,
    prompt: npt.ArrayLike,
    tokens: int,
    choice: Choice | None = None,
    *,
    count: int = 1,
    seed: int = 0,
) -> Iterator[Ids]:
    """The same token by token as they are drawn, (count,) int64 each. What cannot be is refused at once."""
    choice = choice or Choice()
    choice.check(trainer.corpus.manifest.vocab_size)
    for name, number, least in (("tokens", tokens, 0), ("count", count, 1), ("seed", seed, 0)):
        if number < least:
            raise TunemaxError(f"{name} = {number}: expected a whole number ≥ {least}")
    given = np.asarray(prompt, dtype=np.int64).reshape(-1)
    if not len(given):
        raise TunemaxError("prompt: empty; give at least one token to continue")
    trainer.corpus.decode(given)  # refuses strange ids
    return _drawn(trainer, member, torch.from_numpy(given), tokens, choice, count, seed)


def _drawn(
    trainer: Trainer, member: Member, prompt: Tensor, tokens: int, choice: Choice, count: int, seed: int
) -> Iterator[Ids]:
    draws = [generator(seed, "sample", number) for number in range(count)]
    reading, T = trainer.reading(member), member.config.model.block_size
    seen = new = prompt[None, -T:]  # (1, T) of all continuations, as long as they are one
    cache, kept = Cache(T), decisive(member.config)
    for _ in range(tokens):
        if cache.length + new.shape[1] > T:
            cache, new = Cache(T), seen[:, -kept:]
        logits = reading(new, cache)[:, -1]  # (1 or count, V)
        if not logits.isfinite().all():
            raise TunemaxError("what the member expects is not finite: it has diverged; sample another one")
        if len(seen) < count:
            cache.spread(count)
            seen, logits = seen.expand(count, -1), logits.expand(count, -1)
        new = chosen(logits, seen, choice, draws)
        seen = torch.cat((seen, new), dim=1)[:, -T:]
        yield new[:, 0].numpy()


def decisive(config: Config) -> int:
    """How many of the last tokens decide what comes next, once the context is full.

    Whatever layers see of a window, the last token knows of that many before it at the most. Where places are told by
    a table it matters where tokens stand: all are read again then, each time that they move.
    """
    model = config.model
    seen = config.attention.seen(torch.arange(model.block_size)[None])  # (1, T): of the last query, the nearest first
    if seen is None or not config.positions.relative:
        return model.block_size
    return min(model.block_size, model.n_layer * int(seen[0].nonzero().max()) + 1)


def chosen(logits: Tensor, seen: Tensor, choice: Choice, draws: list[torch.Generator]) -> Tensor:
    """The next token of each text, (B, 1), from logits (B, V), the tokens (B, T) that the member sees, and a generator
    for each text."""
    if choice.repetition_penalty != 1:
        there = torch.zeros_like(logits, dtype=torch.bool).scatter(1, seen, True)
        penalty = choice.repetition_penalty
        logits = torch.where(there, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    if not choice.temperature:
        return logits.argmax(-1, keepdim=True)
    likely = narrowed(expected(logits.double() / choice.temperature), choice)  # (B, V)
    return drawn(likely, torch.stack([torch.rand(1, dtype=torch.float64, generator=draw) for draw in draws]))


def narrowed(probabilities: Tensor, choice: Choice) -> Tensor:
    """Probabilities (B, V) with those of tokens that are left out at 0; each rule looks at what the one before it has
    left. The sum is what it comes to."""
    if choice.top_k is None and choice.top_p == 1 and not choice.min_p:
        return probabilities
    ranked, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    if choice.top_k is not None:
        ranked[:, choice.top_k :] = 0
    if choice.top_p < 1:
        likelier = ranked.cumsum(-1).roll(1, -1)
        wanted = choice.top_p * likelier[:, :1]  # of all
        likelier[:, 0] = 0
        ranked = torch.where(likelier < wanted, ranked, 0)
    ranked = torch.where(ranked >= choice.min_p * ranked[:, :1], ranked, 0)
    return torch.zeros_like(ranked).scatter(1, tokens, ranked)
