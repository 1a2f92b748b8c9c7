"""Windows that members write: many of all members that are due as one stack, a token of each at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from tunemax.gpt.cache import Cache
from tunemax.gpt.config import Config
from tunemax.gpt.data.corpus import Corpus
from tunemax.gpt.draw import drawn, expected
from tunemax.gpt.feedback.filters import kept
from tunemax.gpt.random import generator, key

TOKENS = 2048
"""Of a pass over windows, roughly: fixed, so that what a member writes does not depend on its neighbours."""
MEMBERS = 8
"""Of a pass, at most: with more of them it would need more memory than training does."""

Reading = Callable[[Tensor, Cache | None], Tensor]
"""Logits (K, B, T, V) of the token after each of tokens (K, B, T), which stand behind those of a cache."""


@dataclass(frozen=True)
class Pool:
    """What a member has written. windows: those that were kept, (n, T + 1); there may be none."""

    iteration: int
    windows: Tensor

    def holds(self, iteration: int, every: int) -> bool:
        """Whether it is drawn from at this iteration: it is not too old."""
        return len(self.windows) > 0 and iteration // every == self.iteration // every


class Writer(Protocol):
    """A member of a trainer, as far as it writes."""

    @property
    def config(self) -> Config: ...
    @property
    def values(self) -> Mapping[str, Any]: ...
    @property
    def iteration(self) -> int: ...

    pool: Pool | None


W = TypeVar("W", bound=Writer)


@dataclass(frozen=True)
class Plan:
    """What decides a pool beside the weights: prompts, and numbers drawn from the member's own generators.

    prompts: (P, p). at: (P, W), where between 0 and 1 each token of its W is drawn. strange: (P, W), the token that is
    put there instead; −1 for none.
    """

    prompts: Tensor
    at: Tensor
    strange: Tensor
    temperature: float

    @classmethod
    def of(cls, member: Writer, corpus: Corpus) -> Plan:
        config = member.config
        own, train, T = config.feedback, config.train, config.model.block_size
        count, prompt = own.feedback_pool, own.prompt(T)
        part, number = (train.data_start, train.data_end), member.iteration // own.feedback_every
        offsets = corpus.batch_offsets(key(train.seed, "feedback", "prompts"), number, count, T, *part)
        words = "feedback", member.iteration
        shape = count, T + 1 - prompt
        at = torch.rand(shape, dtype=torch.float64, generator=generator(train.seed, *words, "tokens"))
        strange = torch.full(shape, -1)
        if own.feedback_noise:
            noise = generator(train.seed, *words, "noise")
            replaced = torch.rand(shape, dtype=torch.float64, generator=noise) < own.feedback_noise
            first, last = (round(share * len(corpus.train)) for share in part)
            places = first + (torch.rand(shape, dtype=torch.float64, generator=noise) * (last - first)).long()
            anywhere = torch.from_numpy(corpus.train[places.numpy()].astype(np.int64))
            strange = torch.where(replaced, anywhere, strange)
        prompts = torch.from_numpy(corpus.at(offsets, T)[:, :prompt])
        return cls(prompts, at, strange, own.feedback_temperature)


def write(
    members: Sequence[W],
    corpus: Corpus,
    reading: Callable[[Sequence[W]], Reading],
    device: torch.device,
) -> None:
    """Let members that are due write their pools. reading: of a stack of them in their order, on this device."""

    def shape(member: W) -> tuple[int, int]:
        return member.config.feedback.feedback_pool, member.config.feedback.prompt(member.config.model.block_size)

    for alike in (list(group) for _, group in itertools.groupby(sorted(members, key=shape), key=shape)):
        for start in range(0, len(alike), MEMBERS):
            _write(alike[start : start + MEMBERS], corpus, reading, device)


def _write(
    members: Sequence[W], corpus: Corpus, reading: Callable[[Sequence[W]], Reading], device: torch.device
) -> None:
    read, plans = reading(members), [Plan.of(member, corpus) for member in members]
    prompts, at, strange = (
        torch.stack([getattr(plan, name) for plan in plans]).to(device) for name in ("prompts", "at", "strange")
    )
    temperatures = torch.tensor([plan.temperature for plan in plans], dtype=torch.float64, device=device)
    at_once = max(1, TOKENS // members[0].config.model.block_size)
    parts = []
    for begin in range(0, prompts.shape[1], at_once):
        now = slice(begin, begin + at_once)
        parts.append(written(read, prompts[:, now], at[:, now], strange[:, now], temperatures))
    windows, likelihood = (torch.cat(each, dim=1).cpu() for each in zip(*parts, strict=True))
    for member, all_windows, of_each in zip(members, windows, likelihood, strict=True):
        config = member.config
        places = kept(member.config.feedback, all_windows.numpy(), of_each.numpy(), corpus, config.train)
        member.pool = Pool(member.iteration, all_windows[torch.from_numpy(places)])


def written(read: Reading, prompts: Tensor, at: Tensor, strange: Tensor, temperatures: Tensor) -> tuple[Tensor, Tensor]:
    """Windows (K, B, p + W) that begin with prompts (K, B, p), and how likely the members find the W tokens that they
    have written, in nats a token, (K, B), at a temperature of 1.

    at, strange: (K, B, W), as in `Plan`. temperatures: (K,).
    """
    count, cache = at.shape[2], Cache(prompts.shape[2] + at.shape[2] - 1)
    windows, new = [prompts], prompts
    likelihood = torch.zeros_like(at[:, :, 0])
    for place in range(count):
        logits = read(new, cache)[:, :, -1].double()  # (K, B, V)
        token = drawn(expected(logits / temperatures[:, None, None]), at[:, :, place, None])
        instead = strange[:, :, place, None]
        new = torch.where(instead >= 0, instead, token)  # (K, B, 1)
        likelihood = likelihood + torch.log_softmax(logits, dim=-1).gather(-1, new).squeeze(-1)
        windows.append(new)
    return torch.cat(windows, dim=2), likelihood / count
