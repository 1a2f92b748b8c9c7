"""Verdicts on a few primary contrasts: better, worse, equal, or nothing yet, with what more runs would show.

The family is all primary contrasts; Holm's correction is over them alone. The interval of each is at the level that
Holm gives its test, so that a difference is claimed if and only if its interval leaves 0 out. Equality is claimed
only if the whole interval lies within the margin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tunemax.search.results.crossed import Crossed
from tunemax.search.results.statistics import ALPHA

Word = Literal["better", "worse", "equal", "cannot say yet", "no verdict"]

LEAST_INSTANCES = 8
"""On fewer the middle half is of three or less."""
MOST_RUNS = 1000
"""No more seeds are recommended to anybody."""


@dataclass(frozen=True)
class Contrast:
    """A primary contrast, judged.

    difference: of log losses; None if there is nothing to compare. instances: those on which neither diverged, of the
    pair of runs that has the fewest. p: corrected; 1 where too little is there for a verdict. alpha: the level of its
    test and its interval. margin: as a share of the loss. least: runs of either side below which nothing is claimed.
    """

    difference: Crossed | None
    instances: int
    p: float
    alpha: float
    margin: float
    least: int

    @property
    def verdict(self) -> Word:
        if self.difference is None or _is_lacking(self.difference, self.instances, self.least):
            return "no verdict"
        low, high = self.relative[1:]
        if low > 0 or high < 0:
            return "better" if high < 0 else "worse"
        return "equal" if -self.margin < low and high < self.margin else "cannot say yet"

    @property
    def relative(self) -> tuple[float, float, float]:
        """The difference and its interval as shares of the loss."""
        return relative(self.difference, self.alpha)

    @property
    def detectable(self) -> float:
        """The share of the loss by which the two would have to differ to be told apart in 80 of 100 repeats; NaN where
        there are too few runs to say."""
        if self.difference is None or self.verdict == "no verdict":
            return math.nan
        return math.expm1(self.difference.detectable(self.alpha))

    @property
    def needed(self) -> int | None:
        """Runs of either side with which there would be a verdict, whatever it is; None if instances are too few.

        An interval that reaches half of the margin to either side leaves 0 out, or lies within the margin.
        """
        if self.difference is None or self.verdict == "no verdict":
            return None
        return self.difference.runs_for(math.log1p(self.margin) / 2, self.alpha, MOST_RUNS)


def relative(difference: Crossed | None, alpha: float = ALPHA) -> tuple[float, float, float]:
    """A difference of log losses and its interval, as shares of the loss; NaN where there is none."""
    if difference is None:
        return math.nan, math.nan, math.nan
    value, low, high = (_share(each) for each in (difference.value, *difference.interval(alpha)))
    return value, low, high


def _share(logarithm: float) -> float:
    return math.expm1(min(logarithm, 100.0))


def judged(differences: Mapping[str, tuple[Crossed | None, int]], margin: float) -> dict[str, Contrast]:
    """The contrasts of one family by name. differences: with the number of instances of each."""
    least = least_runs(len(differences))
    ps = [
        1.0 if difference is None or _is_lacking(difference, instances, least) else difference.p
        for difference, instances in differences.values()
    ]
    each = zip(differences.items(), *holm(ps), strict=True)
    return {name: Contrast(*of, p, level, margin, least) for (name, of), p, level in each}


def _is_lacking(difference: Crossed, instances: int, least: int) -> bool:
    """Whether there are too few runs or instances for any verdict."""
    return min(difference.runs) < least or instances < LEAST_INSTANCES


def holm(ps: Sequence[float]) -> tuple[list[float], list[float]]:
    """Holm's correction of several p, in the order given: the corrected ones, and the level at which each was judged.

    The smallest is judged at a share of ALPHA of one in so many; each that is claimed leaves its share to the next, and
    the first that is not is the last to be given more.
    """
    corrected, levels, so_far, left = [0.0] * len(ps), [0.0] * len(ps), 0.0, len(ps)
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        so_far = max(so_far, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index], levels[index] = so_far, ALPHA / left
        left -= so_far < ALPHA
    return corrected, levels


def least_runs(family: int) -> int:
    """Runs of either side below which no rearrangement of them could show anything among so many contrasts.

    Of 2n runs there are C(2n, n) ways to be either side's. The tests here do not count them, but with fewer runs they
    would rest on the form of the normal distribution's tails alone.
    """
    runs = 2
    while 2 / math.comb(2 * runs, runs) >= ALPHA / max(family, 1):
        runs += 1
    return runs
