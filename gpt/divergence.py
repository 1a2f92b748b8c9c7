"""Why a member should not train on: something is not finite, a learnable has left its domain, or it has lost its way.

A single minibatch above the cap is a spike: it is counted, and the member trains on. Under the rule of older versions
(`eval_by` windows) it was a divergence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Stability:
    """What is remembered of a member's losses above the cap."""

    spikes: int = 0
    """Iterations with a training loss above it."""
    highest_spike: float = 0.0
    """The largest of these losses, in nats a token."""
    first_spike: int = 0
    """The iteration of the first of them; 0 for none."""
    look_above: int = 0
    """The iteration of the last look at the validation loss, if it was above the cap; else 0."""


def divergence_cap(config: Config, corpus: Corpus) -> float:
    """The loss above which a member is lost, in nats a token: that of guessing evenly, plus a margin."""
    return math.log(corpus.manifest.vocab_size) + config.train.divergence_margin


def first_event(
    config: Config, corpus: Corpus, iteration: int, loss: Tensor, norm: Tensor, learnables: Mapping[str, Tensor]
) -> Event | None:
    """The first of what has gone wrong in the last n iterations of a member, the last of which was before `iteration`.

    loss, norm: (n,), of the gradient. learnables: values by field, (n, …).
    """
    begin = iteration - len(loss)
    cap = divergence_cap(config, corpus) if config.train.eval_by == "windows" else math.inf
    events = [_left_domain(config, begin, learnables), _too_large(cap, begin, loss, norm)]
    return min((event for event in events if event), key=lambda event: event.iteration, default=None)


def spiked(before: Stability, cap: float, begin: int, loss: Tensor) -> Stability:
    """With the spikes among the training losses (n,) of the iterations behind `begin`."""
    above = [(at, value) for at, value in enumerate(loss.tolist(), begin + 1) if cap < value < math.inf]
    if not above:
        return before
    return replace(
        before,
        spikes=before.spikes + len(above),
        highest_spike=max(before.highest_spike, *(value for _, value in above)),
        first_spike=before.first_spike or above[0][0],
    )


def looked(
    config: Config, before: Stability, cap: float, iteration: int, loss: float
) -> tuple[Event | None, Stability]:
    """What a look at the validation loss of a member tells, and what is to be remembered of it.

    It has diverged if the loss is not finite, or above the cap for the second look in a row, or at its horizon; by the
    rule of older versions at any look. Looked at twice at one iteration, it was one look.
    """
    if loss <= cap:
        return None, replace(before, look_above=0)
    after = replace(before, look_above=iteration)
    if not math.isfinite(loss):
        return Event(f"diverged: validation loss is {loss}", iteration), after
    if config.train.eval_by == "windows":
        return Event("diverged: validation loss above the cap", iteration), after
    where = f"diverged: validation loss {loss:.3g} above {cap:.3g}"
    if iteration >= config.train.max_iters:
        return Event(f"{where} at the horizon", iteration), after
    if before.look_above not in (0, iteration):
        return Event(f"{where} at two looks in a row", iteration), after
    return None, after


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
