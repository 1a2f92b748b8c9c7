"""Reliability: how often a run of each side is lost, diverged or in a bad mode, and whether one side loses more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tunemax.search.question.counting import counted
from tunemax.search.results.modes import Modes, split
from tunemax.search.results.statistics import ALPHA, Share, share


@dataclass(frozen=True)
class Lost:
    """Runs of one side that are lost."""

    diverged: Share
    either: Share
    """Diverged, or ended in the worse of two modes."""
    modes: Modes | None
    """Of those that did not diverge; None if they have one."""

    def sentences(self, name: str) -> list[str]:
        """What is to be said of a side that loses runs."""
        count, n = self.diverged.count, self.diverged.n
        many = f"{count} of {counted(n, 'run')}" if count < n else f"all {counted(n, 'run')}"
        told = [f"{name} diverged in {many}"] if count else []
        return told + ([self.modes.sentence(name)] if self.modes else [])


@dataclass(frozen=True)
class Reliability:
    """Both sides on the same seeds."""

    own: Lost
    other: Lost
    p: float
    """Of seeds that one side alone loses, how likely they are to be so uneven: McNemar's exact test, two-sided."""

    @property
    def less(self) -> bool:
        """Whether the candidate loses more runs: more of them diverged, or more are lost and p is below 5 %."""
        return _more(self.own, self.other, self.p)

    @property
    def greater(self) -> bool:
        """Whether the reference loses more runs, by the same rule."""
        return _more(self.other, self.own, self.p)


def reliability(own: Sequence[float], other: Sequence[float], least: float = 0.0) -> Reliability:
    """Of two sides on the same seeds, in the same order; inf: diverged. least: see `modes.split`."""
    lost_own, lost_other = _lost(own, least), _lost(other, least)
    bad = [(_bad(a, lost_own), _bad(b, lost_other)) for a, b in zip(own, other, strict=True)]
    alone = sum(a and not b for a, b in bad), sum(b and not a for a, b in bad)
    return Reliability(lost_own, lost_other, mcnemar(*alone))


def mcnemar(one: int, other: int) -> float:
    """Two-sided exact p of so many pairs that one side alone has lost, and so many that the other has; 1 without any.

    Source: McNemar 1947; the binomial distribution of one half over the pairs that disagree.
    """
    n = one + other
    signs = sum(math.comb(n, count) for count in range(min(one, other) + 1))
    return min(1.0, float(signs / 2 ** (n - 1))) if n else 1.0


def _lost(losses: Sequence[float], least: float) -> Lost:
    finite = [loss for loss in losses if math.isfinite(loss)]
    modes, diverged = split(finite, least), len(losses) - len(finite)
    lost = diverged + (modes.worse if modes else 0)
    return Lost(share(diverged, len(losses)), share(lost, len(losses)), modes)


def _bad(loss: float, lost: Lost) -> bool:
    return not math.isfinite(loss) or (lost.modes is not None and loss >= lost.modes.edge)


def _more(one: Lost, other: Lost, p: float) -> bool:
    return one.diverged.count > other.diverged.count or (p < ALPHA and one.either.count > other.either.count)
