"""How a sequential comparison is planned: at how many pairs it is looked at, and which share of the error is spent.

Fixed by what is asked, before anything is known; the test itself is in `results.sequential`.
"""

from __future__ import annotations

import math
from functools import cache

from tunemax.search.question.stages import MOST_SEEDS

ALPHA = 0.05
"""Of all that is said of a family of candidates, at all looks together, something is wrong this often."""
COUNTS = (6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, MOST_SEEDS)
"""Where looks are made, beside the planned number."""
NEAR = 1.15
"""A look that is so near to the planned one is left out."""
UNTIL_PLANNED = 0.7
"""The share of the error that is spent up to the planned number of pairs."""


def spent(n: int, planned: int) -> float:
    """The share of the error that may be made up to n pairs.

    Against a share of 80 % and a faster end this costs one point of power at the planned number, and gains ten where
    twenty times as many are needed (simulated).
    """
    if n <= planned:
        return float(UNTIL_PLANNED * (n / planned) ** 3)
    return 1 - (1 - UNTIL_PLANNED) * math.sqrt(planned / n)


@cache
def looks(planned: int, family: int = 1) -> tuple[int, ...]:
    """At how many pairs looks are made: about two a doubling, and at the planned number.

    Not where so few pairs can settle nothing among so many candidates: a look there would spend for nothing.
    """
    apart = (count for count in COUNTS if count == planned or max(count, planned) / min(count, planned) > NEAR)
    counts = sorted({*apart, planned})
    return tuple(n for n in counts if least_p(n) <= ALPHA * spent(n, planned) / family)


def least_p(n: int) -> float:
    """The smallest two-sided p that n pairs can have: their differences have the same sign."""
    return min(1.0, 2.0 ** (1 - n))


def least_seeds(family: int) -> int:
    """The smallest number of seeds that can settle anything, planned for so many comparisons."""
    return next(n for n in range(1, MOST_SEEDS) if looks(n, max(1, family))[0] <= n)


def too_few_runs(runs: int, candidates: int, first: int) -> str | None:
    """What to say of so many runs if they do not bring every candidate to its first look; None if they do."""
    if runs >= candidates * first:
        return None
    least = f"{candidates} candidates need at least {candidates * first} runs, {first} seeds each"
    return f"{runs}, too few to settle anything; {least}"
