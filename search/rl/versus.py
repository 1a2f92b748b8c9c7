"""Two contenders of a contest beside each other: losses, divergences, who is ahead, and how soon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunemax.search.results.contrasts import relative
from tunemax.search.results.crossed import Crossed, crossed, crossed_mean, pairs
from tunemax.search.results.statistics import Array, Share, share
from tunemax.search.rl.contest import Contender


@dataclass(frozen=True)
class Rates:
    """How often trainings diverge: of either side, as shares, and the difference with its 95 % interval."""

    own: float
    other: float
    difference: tuple[float, float, float]

    @property
    def more(self) -> bool:
        """Whether the contender diverges more often, by count."""
        return self.own > self.other

    @property
    def any(self) -> bool:
        return max(self.own, self.other) > 0


@dataclass(frozen=True)
class Versus:
    """A contender beside a reference, described.

    difference: of log test losses, over the instances on which neither diverged; None if these are too few. instances:
    so many of them at least, of any pair of runs. runs: of either side.
    """

    name: str
    reference: str
    difference: Crossed | None
    instances: int
    runs: tuple[int, int]
    diverged: Rates

    @property
    def relative(self) -> tuple[float, float, float]:
        """The typical difference and its 95 % interval, as shares of the loss."""
        return relative(self.difference)


@dataclass(frozen=True)
class Reach:
    """How soon a contender has the final validation loss of the reference, on the same instance.

    Instances on which the reference diverged count nowhere: whoever survives has that loss at once. reached: on so many
    instances, of all pairs of runs. steps: iterations saved, the mean over them; none where it is not reached. share:
    the same as a share of the horizon.
    """

    reached: Share
    steps: float
    share: float


def versus(own: Contender, other: Contender) -> Versus:
    """Every run of the one beside every run of the other, on the instances that both have."""
    return _versus(own, other, pairs(*_cut(log_losses(own), log_losses(other))), pairs(*_cut(lost(own), lost(other))))


def versus_itself(own: Contender, other: Contender) -> Versus:
    """An agent that lacks something beside the whole one: pairs are those of the same seed, which both share."""
    losses, losts = _cut(log_losses(own), log_losses(other)), _cut(lost(own), lost(other))
    return _versus(own, other, (losses[0] - losses[1])[:, None], (losts[0] - losts[1])[:, None])


def ahead(own: Contender, other: Contender) -> tuple[float, float, float] | None:
    """The probability of improvement, that a run has the lower loss on an instance, with its 95 % interval.

    A tie counts half; what has diverged is behind everything that has not.
    """
    one, two = _cut(*(np.nan_to_num(log_losses(each), nan=math.inf) for each in (own, other)))
    a, b = one[:, None, :], two[None, :, :]
    return _bounded(crossed_mean((a < b) + 0.5 * (a == b)), 0.0)


def reach(own: Contender, other: Contender, horizons: Sequence[int]) -> Reach | None:
    """None if the reference diverged everywhere."""
    saved: list[int] = []
    shares: list[float] = []
    reached = 0
    for outcomes in own.runs.values():
        for targets in other.runs.values():
            for mine, target, horizon in zip(outcomes, targets, horizons, strict=False):
                if target.diverged:
                    continue
                at = next((past.iteration for past in mine.history if past.loss <= target.loss), None)
                reached += at is not None
                saved.append(0 if at is None else horizon - at)
                shares.append(saved[-1] / horizon)
    return Reach(share(reached, len(saved)), float(np.mean(saved)), float(np.mean(shares))) if saved else None


def log_losses(contender: Contender) -> Array:
    """Logarithms of the test losses (runs, instances); NaN where a training diverged."""
    losses = [
        [math.nan if outcome.diverged or outcome.test_loss is None else outcome.test_loss for outcome in outcomes]
        for outcomes in contender.runs.values()
    ]
    found: Array = np.log(np.array(losses, dtype=float))
    return found


def lost(contender: Contender) -> Array:
    """1 where a training diverged, else 0 (runs, instances)."""
    return np.array([[outcome.diverged for outcome in outcomes] for outcomes in contender.runs.values()], dtype=float)


def _versus(own: Contender, other: Contender, losses: Array, losts: Array) -> Versus:
    rates = Rates(_rate(own), _rate(other), _bounded(crossed_mean(losts), -1.0) or (0.0, -1.0, 1.0))
    least = int(np.isfinite(losses).sum(axis=-1).min())
    return Versus(own.name, other.name, crossed(losses), least, (len(own.runs), len(other.runs)), rates)


def _rate(contender: Contender) -> float:
    return float(lost(contender).mean())


def _cut(own: Array, other: Array) -> tuple[Array, Array]:
    """The instances that both have: the first ones, see `contest.FEW` and `contest.ABLATED`."""
    count = min(own.shape[-1], other.shape[-1])
    return own[:, :count], other[:, :count]


def _bounded(found: Crossed | None, least: float) -> tuple[float, float, float] | None:
    """A share, or a difference of shares, with its interval."""
    if found is None:
        return None
    low, high = found.interval()
    return found.value, max(low, least), min(high, 1.0)
