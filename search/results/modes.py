"""Runs of one configuration that end in another mode than the others: as good losses in the bulk, and a few far above.

At the edge of stability the same settings find one of two solutions, as the seed has it, and the loss of the worse one
lies above the other by many times what seeds differ in otherwise. How often that happens is what a typical loss does
not say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunemax.search.question.counting import counted, one_or

FEWEST = 8
"""Below so many runs no second mode is looked for."""
GAP = 3.0
"""The worse mode begins so many standard deviations of the better one above its last run.

Of runs without a second mode so much is seen in 2 % of 12 normal ones and 10 % of 12 of Student's t with 3 degrees of
freedom (0.1 and 9 % at 24), mostly of a single one; see docs/statistics.md.
"""


@dataclass(frozen=True)
class Modes:
    """Two modes of one configuration's runs."""

    runs: int
    """Of both."""
    worse: int
    """In the worse one; at most half."""
    above: float
    """How much higher the median of the worse one is, in nats a token."""
    edge: float
    """A loss from here on is of the worse one."""

    def sentence(self, name: str) -> str:
        """``2 of 12 runs of constantmax end 0.13 higher``."""
        digits = max(2, 1 - math.floor(math.log10(self.above)))
        end = one_or(self.worse, "ends", "end")
        return f"{self.worse} of {counted(self.runs, 'run')} of {name} {end} {self.above:.{digits}f} higher"


def split(losses: Sequence[float], least: float = 0.0) -> Modes | None:
    """The two modes of some finite losses, if a gap parts them clearly; at most half of the runs are in the worse one.

    least: a gap that is not above this, in nats a token, parts nothing.
    """
    ordered = np.sort(np.asarray(losses, float))
    n = len(ordered)
    if n < FEWEST:
        return None
    best, found = GAP, None
    for worse in range(1, n // 2 + 1):
        better, rest = ordered[: n - worse], ordered[n - worse :]
        gap, sd = float(rest[0] - better[-1]), float(better.std(ddof=1))
        if gap > least and gap > best * sd:
            best = gap / sd if sd else np.inf
            found = Modes(n, worse, float(np.median(rest) - np.median(better)), float(rest[0]))
    return found
