"""Whether a repeat of a tuning would give the same order of its candidates.

Two neighbours in the order are told apart by two rules that both must hold. First, so many of the better one's trials
are ahead of the best of the other as chance gives to one of two equal candidates in fewer than 2.5 % of cases. That is
exact if trials are independent draws. A sampler that learns draws near what was good: once a search is in a good
region, or stuck in a poor one, it draws many trials there, and they count as one. So, second, the lead must be larger
than what either search has gained over the known and random trials that it began with: luck in where a search ends is
mostly no larger than that. `benchmarks/calibration_order.py` measures both on real searches.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

ERROR = 0.05
"""Of candidates that do not differ two are told apart less often than this."""
LEVEL = ERROR / 2
"""Of the first rule: what samplers that learn get past both is left the other half."""
LEAST = 4
"""Trials that each candidate must have before anything is said of a repeat."""


@dataclass(frozen=True)
class Search:
    """What the search of one candidate has come to. Losses in nats a token."""

    losses: Sequence[float]
    """Of the trials that were trained to the horizon, best first."""
    trials: int
    """Those that have ended: trained to the horizon, pruned, or diverged."""
    begun: float | None = None
    """The best loss among the known and random trials that it began with, infinite if none of them was trained to the
    horizon; None if it never learns from results."""

    @property
    def best(self) -> float:
        return self.losses[0] if self.losses else math.inf

    @property
    def gain(self) -> float:
        """What it has gained since its beginning."""
        if self.begun is None:
            return 0.0
        return self.begun - self.best if math.isfinite(self.begun) else math.inf


def chance(ahead: int, own: int, other: int) -> float:
    """The chance that the best `ahead` of own + other independent draws all belong to one of the two sides."""
    if not ahead:
        return 1.0
    both = sum(math.comb(own + other - ahead, rest) for rest, one in ((other, own), (own, other)) if one >= ahead)
    return min(1.0, both / math.comb(own + other, own))


def apart(better: Search, worse: Search, neighbours: int = 1) -> bool:
    """Whether a repeat would keep these two in their order.

    neighbours: pairs that are looked at, for which the level is divided.
    """
    ahead = bisect.bisect_left(better.losses, worse.best)
    if not ahead or chance(ahead, better.trials, worse.trials) * neighbours >= LEVEL:
        return False
    return worse.best - better.best > max(better.gain, worse.gain)


def groups(searches: Sequence[Search]) -> list[list[int]] | None:
    """The order that a repeat would keep: indices, those together that lie too close to be told apart, best first.

    None while nobody can say: of fewer than two searches, or with fewer than LEAST trials of one.
    """
    if len(searches) < 2 or min(search.trials for search in searches) < LEAST:
        return None
    order = sorted(range(len(searches)), key=lambda index: searches[index].best)
    found = [order[:1]]
    for before, here in itertools.pairwise(order):
        if apart(searches[before], searches[here], len(searches) - 1):
            found.append([here])
        else:
            found[-1].append(here)
    return found


def sentence(names: Sequence[str], searches: Sequence[Search], subject: str) -> str | None:
    """Whether a repeat would give the same order, in one sentence. subject: ``the order``; None: nobody can say."""
    found = groups(searches)
    if found is None:
        return None
    close = [[names[index] for index in group] for group in found if len(group) > 1]
    if not close:
        return f"{subject} would probably be the same in a repeat."
    everyone = len(close[0]) == len(names) > 2
    first = f"one search {'tells none of them' if everyone else f'does not tell {enumerated(close[0])}'} apart"
    listed = ", nor ".join([first, *map(enumerated, close[1:])])
    remedy = "more trials or a longer horizon may"
    return f"{subject} would probably change in a repeat: {listed}; {remedy}."


def enumerated(names: Sequence[str], last: str = "and") -> str:
    """``a, b and c``."""
    return f" {last} ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])
