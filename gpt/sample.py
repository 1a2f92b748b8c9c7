"""Text from a member: tokens drawn one after the other from what it expects."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from tunemax.gpt.data.manifest import Ids
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.random import generator
from tunemax.gpt.trainer import Member, Trainer


def generate(
    trainer: Trainer,
    member: Member,
    prompt: npt.ArrayLike,
    tokens: int,
    *,
    count: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
) -> Ids:
    """Continue a prompt of token ids (n,) by so many tokens, `count` times side by side: (count, tokens) int64.

    The member sees as many of the last tokens as its context holds. A low temperature takes what is likely; 0 always
    takes the likeliest. What comes out follows from the weights and the arguments; neither training nor the global
    generators are touched. Raises TunemaxError for an empty prompt, or one that is outside the vocabulary, and for a
    number that says nothing.
    """
    if not (math.isfinite(temperature) and temperature >= 0):
        raise TunemaxError(f"temperature = {temperature}: expected a number ≥ 0; 0 takes the likeliest")
    for name, number, least in (("tokens", tokens, 0), ("count", count, 1), ("seed", seed, 0)):
        if number < least:
            raise TunemaxError(f"{name} = {number}: expected a whole number ≥ {least}")
    given = np.asarray(prompt, dtype=np.int64).reshape(-1)
    if not len(given):
        raise TunemaxError("prompt: empty; give at least one token to continue")
    trainer.corpus.decode(given)  # refuses strange ids
    draw = generator(seed, "sample")
    text = torch.from_numpy(given).expand(count, -1)  # (count, T)
    for _ in range(tokens):
        logits = trainer.logits(member, text[:, -trainer.model.block_size :])[:, -1]  # (count, V)
        if temperature:
            following = torch.multinomial(torch.softmax(logits.double() / temperature, dim=-1), 1, generator=draw)
        else:
            following = logits.argmax(-1, keepdim=True)
        text = torch.cat((text, following), dim=1)
    return np.asarray(text[:, len(given) :].numpy(), dtype=np.int64)
