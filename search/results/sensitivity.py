"""What a wrong learning rate costs: the loss of each candidate over learning rates, at a fixed budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from optuna.trial import FrozenTrial

from tunemax.search.question.definition import StudyDefinition
from tunemax.search.results.leaderboard import Candidate
from tunemax.search.results.statistics import Estimate, estimate
from tunemax.search.storage.attributes import state

RATE = "learning_rate"
BESIDE = {"seed", "softmax_variant"}
"""What may be searched beside it: the runs of one candidate at one learning rate then differ by their seed alone."""


@dataclass(frozen=True)
class AtRate:
    """The runs of one candidate at one learning rate."""

    rate: float
    losses: tuple[float, ...]
    """Of those that reached the horizon."""
    caps: tuple[float, ...]
    """What those that diverged were told."""
    mean: float
    """Of the losses; NaN if all diverged."""
    interval: Estimate | None
    """None for fewer than two."""

    @property
    def text(self) -> str:
        """Mean ± half of its interval, and how many runs diverged if any did."""
        diverged = f"{len(self.caps)} of {len(self.caps) + len(self.losses)} diverged" if self.caps else ""
        if not self.losses:
            return diverged
        half = f" ±{(self.interval.high - self.interval.low) / 2:.4f}" if self.interval else ""
        return f"{self.mean:.4f}{half}, {diverged}" if diverged else f"{self.mean:.4f}{half}"


def rate_curves(definition: StudyDefinition, found: Sequence[Candidate]) -> dict[str, list[AtRate]]:
    """By candidate, where a study is a grid of learning rates; else nothing.

    What a sampler has chosen stands close where losses are low, and says little of the rest.
    """
    searched = set(definition.space)
    if not definition.sampler.is_grid or RATE not in searched or searched - BESIDE != {RATE}:
        return {}
    curves = {candidate.name: at_rates(candidate.trials) for candidate in found}
    return {name: points for name, points in curves.items() if len(points) > 1}


def at_rates(trials: Sequence[FrozenTrial]) -> list[AtRate]:
    """The runs of one candidate by learning rate, the lowest first.

    Runs that were pruned say nothing of the horizon and stay out.
    """
    groups: dict[float, list[FrozenTrial]] = {}
    for trial in trials:
        if state(trial) in ("complete", "diverged") and RATE in trial.params:
            groups.setdefault(float(trial.params[RATE]), []).append(trial)
    points = []
    for rate, group in sorted(groups.items()):
        losses = tuple(trial.value for trial in group if state(trial) == "complete" and trial.value is not None)
        caps = tuple(trial.value for trial in group if state(trial) == "diverged" and trial.value is not None)
        points.append(AtRate(rate, losses, caps, fmean(losses) if losses else math.nan, estimate(losses)))
    return points


def lr_sensitivity(points: Sequence[AtRate]) -> float:
    """Mean loss over learning rates less the best of them (Wortsman et al., arXiv 2309.14322, section 2.2).

    There the loss is cut at that of the untrained model; here a run that diverged counts at its cap, which is a little
    above.
    """
    losses = [fmean((*point.losses, *point.caps)) for point in points]
    return fmean(losses) - min(losses)
