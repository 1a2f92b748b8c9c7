"""Learning rate schedules: pure functions of progress, and where their phases begin."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tunemax.gpt.train_config import Schedule, TrainConfig


def lr_factor(train: TrainConfig, iteration: int) -> float:
    """The learning rate of iteration 0, 1, … relative to the peak; past the horizon it stays at its last value.

    Linear warm-up over `warmup_fraction` of the horizon, then: `constant`; `cosine` or `linear` down to `min_lr_ratio`;
    or `wsd`, stable until the last `decay_fraction` of the horizon, then linear down to `min_lr_ratio` (arXiv
    2404.06395).
    """
    iteration = min(iteration, train.max_iters - 1)
    warmup = warmup_end(train)
    if iteration < warmup:
        return (iteration + 1) / warmup
    if train.schedule == "constant":
        return 1.0
    start = max(warmup, decay_start(train, train.max_iters)) if train.schedule == "wsd" else warmup
    progress = min(max((iteration - start) / max(train.max_iters - 1 - start, 1), 0.0), 1.0)
    left = 0.5 * (1 + math.cos(math.pi * progress)) if train.schedule == "cosine" else 1 - progress
    return train.min_lr_ratio + (1 - train.min_lr_ratio) * left


def simplest(train: TrainConfig) -> Schedule:
    """The schedule with the fewest fields that has the same learning rate at every iteration: one that never falls is
    constant, and a wsd that is never stable is linear."""
    warmup, last = warmup_end(train), train.max_iters - 1
    start = decay_start(train, train.max_iters) if train.schedule == "wsd" else warmup
    if train.min_lr_ratio == 1 or max(warmup, start) >= last:
        return "constant"
    return "linear" if train.schedule == "wsd" and start <= warmup else train.schedule


def warmup_end(train: TrainConfig) -> int:
    """The first iteration after the warm-up."""
    return round(train.warmup_fraction * train.max_iters)


def decay_start(train: TrainConfig, horizon: int) -> int:
    """The iteration from which `wsd` decays to this horizon; a branch that ends there leaves its trunk here."""
    return horizon - round(train.decay_fraction * horizon)


def overlapping(train: TrainConfig) -> str | None:
    """What to say of a warm-up that ends after the decay should have begun; None if it does not."""
    end, start = warmup_end(train), decay_start(train, train.max_iters)
    if train.schedule != "wsd" or end <= start:
        return None
    shares = f"warmup_fraction = {train.warmup_fraction:g} and decay_fraction = {train.decay_fraction:g} overlap"
    return f"{shares}: the learning rate rises until iteration {end:,} and decays from there on"


def branch_steps(train: TrainConfig, ends: Sequence[int], iteration: int) -> int:
    """Iterations that branches with these horizons have trained by the time that their trunk is at this iteration."""
    return sum(max(0, min(iteration, end) - decay_start(train, end)) for end in ends)
