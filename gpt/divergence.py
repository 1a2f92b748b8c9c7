"""Why a member should not train on: its loss is too large or not finite, or a learnable has left its domain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import FieldSpec


@dataclass(frozen=True)
class Event:
    """Why a member should not train on, found at this iteration."""

    reason: str
    iteration: int


def divergence_cap(config: Config, corpus: Corpus) -> float:
    """The training loss above which a member has diverged, in nats: that of guessing evenly, plus a margin."""
    return math.log(corpus.manifest.vocab_size) + config.train.divergence_margin


def first_event(
    config: Config, corpus: Corpus, iteration: int, loss: Tensor, norm: Tensor, learnables: Mapping[str, Tensor]
) -> Event | None:
    """The first of what has gone wrong in the last n iterations of a member, the last of which was before `iteration`.

    loss, norm: (n,), of the gradient. learnables: values by field, (n, …).
    """
    begin = iteration - len(loss)
    events = [_left_domain(config, begin, learnables), _too_large(divergence_cap(config, corpus), begin, loss, norm)]
    return min((event for event in events if event), key=lambda event: event.iteration, default=None)


def _too_large(cap: float, begin: int, loss: Tensor, norm: Tensor) -> Event | None:
    """The first iteration whose loss (n,) is above the cap, or whose loss or gradient norm (n,) is not finite."""
    for at, (value, size) in enumerate(zip(loss.tolist(), norm.tolist(), strict=True), begin + 1):
        if not math.isfinite(value):
            return Event(f"diverged: training loss is {value}", at)
        if value > cap:
            return Event(f"diverged: training loss {value:.3g} above {cap:.3g}", at)
        if not math.isfinite(size):
            return Event(f"diverged: norm of the gradient is {size}", at)
    return None


def _left_domain(config: Config, begin: int, learnables: Mapping[str, Tensor]) -> Event | None:
    """The first iteration after which a learnable was outside its field's valid range."""
    for name, values in learnables.items():
        spec = all_specs()[f"{config.softmax.name}.{name}"]
        if _outside(spec, values):
            at, reason = next((at, why) for at, now in enumerate(values, begin + 1) if (why := _outside(spec, now)))
            return Event(f"diverged: a learnable left its domain: {reason}", at)
    return None


def _outside(spec: FieldSpec, values: Tensor) -> str | None:
    """What is wrong with values of a field. NaN is not looked at: it comes of something else, and shows in the loss."""
    known = values[~values.isnan()]
    try:
        for extreme in (known.min(), known.max()) if len(known) else ():
            spec.check(float(extreme))
    except TunemaxError as error:
        return str(error)
    return None
