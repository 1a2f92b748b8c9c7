"""How many seeds a difference would need, as a range, and what they would cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from optuna.trial import FrozenTrial

from tunemax.search.results.sequential import level, looks
from tunemax.search.results.signed_rank import z_score

POWER = 0.8
"""The chance with which the difference is found, if it is as large as supposed."""
TAIL = 0.1
"""The range leaves out so much of what the difference may be, on either side."""


@dataclass(frozen=True)
class Needed:
    """Seeds with which the difference would probably be found. None: more than the last look has."""

    low: int | None
    """If it is as large as the pairs so far allow."""
    high: int | None
    """If it is as small."""


def needed(differences: Sequence[float], planned: int, family: int = 1, kept: float = 1.0) -> Needed:
    """The 10-90 % range of the seeds at whose look a difference such as this is found with a power of 80 %.

    The standardised signed-rank statistic of n pairs lies about sqrt(n) times the effect, with a standard deviation of
    about 1: that leaves a range of effects, and each needs its seeds. They are those of a look to come, at the level of
    that look, for one of a family none of which is settled; kept: the share of seeds that make a pair.
    """
    from scipy.stats import norm

    seen, spare = abs(z_score(differences)), float(norm.isf(TAIL))
    return Needed(*(_found_at(z, len(differences), planned, family, kept) for z in (seen + spare, seen - spare)))


def _found_at(z: float, n: int, planned: int, family: int, kept: float) -> int | None:
    """Seeds of the first look to come that has the power, where n pairs have z on average; None if none has."""
    from scipy.stats import norm

    for count in looks(planned, family):
        edge = float(norm.isf(level(count, planned, family) / 2))
        if count > n and norm.sf(edge - max(z, 0.0) * math.sqrt(count / n)) >= POWER:
            return math.ceil(count / kept)
    return None


def runs_per_second(trials: Sequence[FrozenTrial]) -> float | None:
    """How many runs end in a second, over the time in which any of them was trained; None before one has.

    Several are trained at once, and nobody may have worked for days between two of them.
    """
    spans = sorted(
        (trial.datetime_start, trial.datetime_complete)
        for trial in trials
        if trial.datetime_start and trial.datetime_complete and trial.state.is_finished()
    )
    busy, reached = 0.0, datetime.min
    for start, end in spans:
        busy += max(0.0, (end - max(start, reached)).total_seconds())
        reached = max(reached, end)
    return len(spans) / busy if busy else None
