"""Teacher forcing: what a member expects of each target, told all the text in front of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tunemax.gpt.data.corpus import Corpus
from tunemax.gpt.data.targets import Targets
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.tokenizers import Ids
from tunemax.gpt.trainer import EVAL_TOKENS, Member, Trainer

Floats = npt.NDArray[np.float64]

LOGITS = 2**24
"""Numbers of one forward pass's logits, at most: they are looked at in double precision."""
BINS = 15
"""Of confidences, between which a calibration is measured (Guo et al., arXiv 1706.04599, section 4)."""


class Bin:
    """Targets whose likeliest token was about equally likely: how many, how likely on average, how often right."""

    def __init__(self, confidences: Floats, right: npt.NDArray[np.bool_]) -> None:
        self.count = len(confidences)
        self.confidence = float(confidences.mean())
        self.accuracy = float(right.mean())


@dataclass(frozen=True, eq=False)
class Forced:
    """What a member expected, target by target in the order of the text, (n,) each. No token is padding."""

    places: Ids
    """Where each target stands among the tokens of its slice."""
    seen: Ids
    """Tokens in front of it that the member saw, itself not among them: 1 … context."""
    losses: Floats
    """−ln p of it, in nats."""
    ranks: Ids
    """How many tokens were held likelier, those of equal logits in the order of their ids; 0: it was the likeliest."""
    guesses: Ids
    """The likeliest token."""
    confidences: Floats
    """How likely that was."""
    tokens_per_s: float
    """Tokens that were read a second, here and now."""

    @property
    def loss(self) -> float:
        """Mean, in nats a token."""
        return float(self.losses.mean())

    def accuracy(self, k: int) -> float:
        """The share of targets among the k likeliest tokens."""
        return float((self.ranks < k).mean())

    def bins(self, count: int = BINS) -> list[Bin]:
        """Of equal width over 0 … 1, open at the left as in the source; empty ones are left out."""
        edges = np.linspace(0, 1, count + 1)[1:-1]
        places = np.searchsorted(edges, self.confidences, side="left")
        right = self.ranks == 0
        return [Bin(self.confidences[at], right[at]) for place in range(count) if (at := places == place).any()]

    def calibration_error(self, count: int = BINS) -> float:
        """ECE = Σ |B| / n · |accuracy(B) − confidence(B)| over bins B (Guo et al., arXiv 1706.04599, eq. 3)."""
        return sum(b.count * abs(b.accuracy - b.confidence) for b in self.bins(count)) / len(self.losses)

    def by_position(self, edges: Sequence[int]) -> list[npt.NDArray[np.bool_]]:
        """Which targets had seen at least each edge, and less than the next one, of tokens: masks (n,)."""
        return [(self.seen >= low) & (self.seen < high) for low, high in pairwise(edges)]


def forced(trainer: Trainer, member: Member, part: str, targets: Targets) -> Forced:
    """Tell a member a slice and measure what it expects of each target that counts, every one once.

    part: tuning, confirmation or test. targets: of this member's context. Training is not affected. Raises TunemaxError
    if what it expects is not finite.
    """
    corpus, T = trainer.corpus, trainer.model.block_size
    counts = targets.counted(T) > 0  # (n, T)
    read, found, seconds = trainer.reading(member), list[tuple[Tensor, ...]](), list[float]()
    at_once = max(1, min(EVAL_TOKENS, LOGITS // corpus.manifest.vocab_size) // T)
    for start in range(0, len(counts), at_once):
        now = slice(start, start + at_once)
        windows = torch.from_numpy(corpus.windows_at(part, targets.offsets[now], T))  # (B, T + 1)
        chosen = torch.from_numpy(counts[now])
        begun = time.perf_counter()
        logits = read(windows[:, :-1], None)
        seconds.append((time.perf_counter() - begun) / windows[:, :-1].numel())
        found.append(_looked_at(logits[chosen], windows[:, 1:][chosen]))
    rows, columns = counts.nonzero()
    losses, ranks, guesses, confidences = (np.asarray(torch.cat(parts).numpy()) for parts in zip(*found, strict=True))
    speed = 1 / float(np.median(seconds))
    places = targets.offsets[rows] + columns + 1
    return Forced(places, (columns + 1).astype(np.int64), losses, ranks, guesses, confidences, speed)


def _looked_at(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, rank, likeliest token and its probability, (n,) each, of logits (n, V) and targets (n,)."""
    if not logits.isfinite().all():
        raise TunemaxError("what the member expects is not finite: it has diverged; compare another one")
    own = logits.gather(-1, truth[:, None])
    ids = torch.arange(logits.shape[-1])
    ahead = (logits > own) | ((logits == own) & (ids < truth[:, None]))
    log_p = torch.log_softmax(logits.double(), dim=-1)
    guesses = logits.argmax(-1)  # the first of equal ones
    confidences = log_p.gather(-1, guesses[:, None])[:, 0].exp()
    return -log_p.gather(-1, truth[:, None])[:, 0], ahead.sum(-1), guesses, confidences


def even_windows(corpus: Corpus, part: str, tokens: int, longest: int, block_size: int) -> Targets:
    """Windows that begin at the same places for every context up to the longest one, as far as a context goes.

    So a target that has so many tokens in front of it in one context has them in the other, too. They are spread evenly
    over the slice, as many as so many tokens fill at the longest context; 0 or too many: all there are.
    """
    places = corpus.window_offsets(part, longest)
    whole = len(places)
    wanted = -(-tokens // longest) if tokens else 0
    chosen: Any = np.arange(wanted) * whole // wanted if 0 < wanted < whole else np.arange(whole)
    offsets = places[chosen]
    read = corpus.windows_at(part, offsets, block_size)[:, 1:]
    sizes = corpus.manifest.codec.bytes_of(read.reshape(-1).astype(np.uint16))
    ends = np.full(len(offsets), block_size)
    return Targets(offsets, np.zeros_like(offsets), ends, read.size, int(sizes.sum()))
