"""How many seeds a difference would need, as a range, and what they would cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from optuna.trial import FrozenTrial

from tunemax.search.question.counting import counted
from tunemax.search.question.looks import looks
from tunemax.search.results.sequential import level
from tunemax.search.results.signed_rank import NORMAL, z_score
from tunemax.search.storage.attributes import ITERATIONS

POWER = 0.8
"""The chance with which the difference is found, if it is as large as supposed."""
TAIL = 0.1
"""The range leaves out so much of what the difference may be, on either side."""
MOST_EFFECT = 6.0
"""Standard deviations by which a difference that was not settled may lie off zero, at most."""


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
    about 1. That it has not been large enough for a verdict is known, so that the range of effects is that of a normal
    variable cut off at the level of the last look. Each effect needs its seeds: those of a look to come, at the level
    of that look, for one of a family none of which is settled. kept: the share of seeds that make a pair.
    """
    seen, n = abs(z_score(differences)), len(differences)
    made = [count for count in looks(planned, family) if count <= n]
    edge = max(seen, _edge(made[-1], planned, family) if made else math.inf)
    effects = (_center(seen, edge, TAIL), _center(seen, edge, 1 - TAIL))
    return Needed(*(_found_at(z / math.sqrt(n), n, planned, family, kept) for z in effects))


def _edge(count: int, planned: int, family: int) -> float:
    """The standardised statistic from which on the look at so many pairs settles a difference."""
    return -NORMAL.inv_cdf(level(count, planned, family) / 2)


def _center(seen: float, edge: float, below: float) -> float:
    """The mean of a normal variable, known to be within ±edge, of which a share `below` is below what is seen."""

    def share(center: float) -> float:
        low = NORMAL.cdf(-edge - center)
        inside = NORMAL.cdf(edge - center) - low
        return (NORMAL.cdf(seen - center) - low) / inside if inside > 1e-12 else 0.0

    low, high = -MOST_EFFECT, MOST_EFFECT
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) > below else (low, middle)
    return low


def _found_at(effect: float, n: int, planned: int, family: int, kept: float) -> int | None:
    """Seeds of the first look beyond n pairs that has the power; None if none has. effect: of one pair."""
    for count in looks(planned, family):
        expected = max(effect, 0.0) * math.sqrt(count)
        if count > n and NORMAL.cdf(expected - _edge(count, planned, family)) >= POWER:
            return math.ceil(count / kept)
    return None


def too_few(seeds: int, planned: int, family: int) -> str | None:
    """What to say of so many seeds if they can settle nothing; None if they can.

    planned: those that were planned at first. family: comparisons that count, see `stages.comparisons`.
    """
    first = looks(planned, family)[0] if family else 0
    if seeds >= first:
        return None
    among = f" among {family} comparisons" if family > 1 else ""
    return f"{counted(seeds, 'seed')} can never show a difference{among}; {first} or more could."


def runs_per_second(trials: Sequence[FrozenTrial]) -> float | None:
    """How many runs end in a second, over the time in which any of them was trained; None before one has."""
    ended = [trial for trial in trials if trial.state.is_finished() and trial.datetime_start]
    busy = busy_seconds(ended)
    return len(ended) / busy if busy else None


def steps_per_second(trials: Sequence[FrozenTrial]) -> float | None:
    """How many member-steps are trained in a second, over that time; None before one trial has ended."""
    busy = busy_seconds(trials)
    return sum(trial.user_attrs.get(ITERATIONS, 0) for trial in trials) / busy if busy else None


def busy_seconds(trials: Sequence[FrozenTrial]) -> float:
    """The time in which any of these trials, of those that have ended, was trained.

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
    return busy
