"""One sequential test: whoever looks, and whenever, may believe a verdict, and it stands.

Who adds seeds until a difference shows has as many chances to be fooled as he looks. Here the looks are made at numbers
of pairs that are fixed before anything is known, whatever is read when: each uses the first n pairs in the order of
their seeds. So reading a confirmation half-way, giving it more seeds, or taking one away and doing it again on the same
seeds changes nothing of what a look has said. The permitted error is spent over the looks (Lan & DeMets 1983): 70 %
until the number of pairs that was planned, most of it there, and the rest on all that may be added later.

For each candidate two things are tested: that its typical difference is 0, and that it is as large as a margin, on
either side (two one-sided tests, Schuirmann 1987). To reject the first makes it better or worse, to reject the second
makes it equal within the margin. Never more than one of the two is true, so that m candidates have at most m true
hypotheses among their 2 m, and Shaffer's procedure (1986) multiplies by the number of candidates for which one may
still be true: those of which not both are rejected. Holm's, over candidates, would err: a candidate that is better may
still be called equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from tunemax.search.question.looks import ALPHA, looks, spent
from tunemax.search.question.stages import MARGIN
from tunemax.search.results.signed_rank import difference, one_sided, pseudomedian

Array = np.ndarray[Any, Any]

_STEP, _REACH = 0.05, 8.5
"""The grid of z over which paths are followed."""
_ALPHAS = np.logspace(-9, 0, 55)
"""Overall errors for which the level of each look is computed; between them its logarithm is interpolated."""
_LOG_ALPHAS = np.log(_ALPHAS)


@dataclass(frozen=True)
class Pairs:
    """Losses of a candidate and of the reference on the same seeds, in the order of the seeds; inf: diverged."""

    own: tuple[float, ...]
    other: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.own)

    @property
    def differences(self) -> list[float]:
        return [difference(own, other) for own, other in zip(self.own, self.other, strict=True)]

    def first(self, count: int) -> Pairs:
        return Pairs(self.own[:count], self.other[:count])


@dataclass(frozen=True)
class Settled:
    """What the looks so far say of one candidate."""

    p: float
    """Of no difference: the smallest error of the whole family, over all looks, at which this would be rejected."""
    p_equal: float
    """Of a difference as large as the margin, in the same way."""
    sign: int
    """-1: its losses are lower; 1: higher; 0: not settled."""
    at: int | None
    """Pairs at the look that settled the sign."""
    equal_at: int | None
    """Pairs at the look that settled that it is equal within the margin."""


@cache
def level(n: int, planned: int, family: int = 1) -> float:
    """The p below which the look at n pairs rejects, for one of a family of candidates none of which is settled yet."""
    index = looks(planned, family).index(n)
    return math.exp(np.interp(math.log(ALPHA / family), _LOG_ALPHAS, _log_levels(planned, family)[index]))


def overall(ps: Sequence[float], planned: int, family: int = 1) -> list[float]:
    """After each look, the smallest error over all looks at which one of them would have rejected.

    ps: two-sided p of the looks made so far, each by itself, in order.
    """
    found, best = [], 1.0
    for p, levels in zip(ps, _log_levels(planned, family), strict=False):
        log = math.log(max(p, 1e-300))
        if log <= levels[-1]:
            best = min(best, math.exp(np.interp(log, levels, _LOG_ALPHAS)))
        found.append(best)
    return found


def corrected(ps: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Shaffer's correction of two p a candidate, of which never both are of a true hypothesis.

    The smallest is multiplied by the number of candidates; a candidate both of whose p are smaller than the one at hand
    is not counted any more.
    """
    found = {name: [1.0, 1.0] for name in ps}
    left, so_far = dict.fromkeys(ps, 2), 0.0
    for p, name, which in sorted((p, name, which) for name, both in ps.items() for which, p in enumerate(both)):
        open_ = sum(count > 0 for count in left.values())
        so_far = max(so_far, min(1.0, open_ * p))
        found[name][which] = so_far
        left[name] -= 1
    return {name: (both[0], both[1]) for name, both in found.items()}


@dataclass(frozen=True)
class Look:
    """One-sided p of the first pairs: that the typical difference is below 0, above it, below the margin, and above
    minus the margin."""

    below: float
    above: float
    below_margin: float
    above_margin: float

    @property
    def sign(self) -> int:
        return -1 if self.below < self.above else 1


def look(pairs: Pairs, margin: float) -> Look:
    """What some pairs say by themselves. margin: a share of the reference's typical loss; NaN: none is tested."""
    differences, base = pairs.differences, scale(pairs.other)
    below, above = one_sided(differences)
    if not math.isfinite(margin * base):
        return Look(below, above, 1.0, 1.0)
    return Look(below, above, one_sided(differences, margin * base)[0], one_sided(differences, -margin * base)[1])


def settle(family: Mapping[str, Pairs], planned: int, margin: float = MARGIN) -> dict[str, Settled]:
    """What may be said of each candidate of a family, from its pairs so far.

    family: all that are compared, also those without pairs yet. planned: the number of pairs that was planned before
    the first one. margin: a share of the reference's typical loss.
    """
    counts = looks(planned, max(1, len(family)))
    made = {name: [look(pairs.first(n), margin) for n in counts if n <= len(pairs)] for name, pairs in family.items()}
    return decide(made, planned)


def decide(made: Mapping[str, Sequence[Look]], planned: int) -> dict[str, Settled]:
    """What may be said of each candidate, from its looks so far; one may have made fewer than another."""
    counts = looks(planned, max(1, len(made)))
    paths = {name: _Path.of(own, planned, len(made)) for name, own in made.items()}
    found = dict.fromkeys(made, Settled(1.0, 1.0, 0, None, None))
    for index in range(max(map(len, made.values()), default=0)):
        for name, (p, p_equal) in corrected({name: path.at(index) for name, path in paths.items()}).items():
            before, last = found[name], min(index, len(made[name]) - 1)
            sign, at, equal_at = before.sign, before.at, before.equal_at
            if not sign and p <= ALPHA:
                # The look with the smallest p is the one that rejects, also where others have made that possible
                sign, at = made[name][int(np.argmin(paths[name].differs[: last + 1]))].sign, counts[last]
            if equal_at is None and p_equal <= ALPHA:
                equal_at = counts[last]
            found[name] = Settled(p, p_equal, sign, at, equal_at)
    return found


@lru_cache(maxsize=256)
def scale(losses: tuple[float, ...]) -> float:
    """The typical loss of the runs that did not diverge; NaN if all did. Kept: all candidates have one reference."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    return pseudomedian(finite) if finite else math.nan


@dataclass(frozen=True)
class _Path:
    """Of one candidate, after each look: the overall p of no difference, and of one as large as the margin."""

    differs: list[float]
    equal: list[float]

    @classmethod
    def of(cls, made: Sequence[Look], planned: int, family: int) -> _Path:
        differs = overall([min(1.0, 2 * min(each.below, each.above)) for each in made], planned, family)
        # A test of one side has half the error that the same test of both sides has
        under = overall([min(1.0, 2 * each.below_margin) for each in made], planned, family)
        over = overall([min(1.0, 2 * each.above_margin) for each in made], planned, family)
        within = [max(both) if max(both) == 1 else max(both) / 2 for both in zip(under, over, strict=True)]
        return cls(differs, within)

    def at(self, index: int) -> tuple[float, float]:
        """After this look, or its last one; (1, 1) before its first."""
        return (self.differs[: index + 1][-1], self.equal[: index + 1][-1]) if self.differs else (1.0, 1.0)


@cache
def _log_levels(planned: int, family: int) -> Array:
    """The logarithm of the two-sided p at which each look rejects, by overall error (looks, len(_ALPHAS)).

    Under the hypothesis the standardised statistic moves, from look to look, as Brownian motion at times n does. What
    has not crossed a level before is followed on a grid of z (Armitage, McPherson & Rowe 1969; Jennison & Turnbull
    2000, ch. 19), and the next level is where the error that may be spent crosses.
    """
    from scipy.special import ndtr

    def normal(x: Array) -> Array:
        return np.asarray(np.exp(-x * x / 2) / math.sqrt(2 * math.pi))

    counts = looks(planned, family)
    z = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    density = normal(z)[None, :].repeat(len(_ALPHAS), axis=0)
    upper, before, nominal = z[z >= -_STEP / 2], 0.0, []
    beyond = ndtr(-upper)[None, :].repeat(len(_ALPHAS), axis=0)
    for index, n in enumerate(counts):
        if index:
            rho = math.sqrt(counts[index - 1] / n)
            sd = math.sqrt(1 - rho * rho)
            beyond = _STEP * density @ ndtr((rho * z[:, None] - upper[None, :]) / sd)
            density = _STEP * density @ (normal((z[None, :] - rho * z[:, None]) / sd) / sd)
        now = spent(n, planned)
        crossed = np.log(_ALPHAS * (now - before) / 2)
        logs = np.log(np.maximum(beyond, 1e-300))
        edge = np.array([np.interp(-at, -log, upper) for at, log in zip(crossed, logs, strict=True)])
        # A cell of the grid that a level divides counts by its part inside
        density = density * np.clip((edge[:, None] - np.abs(z)[None, :]) / _STEP + 0.5, 0.0, 1.0)
        nominal.append(2 * ndtr(-edge))
        before = now
    return np.log(np.maximum.accumulate(np.array(nominal).reshape(len(counts), len(_ALPHAS)), axis=1))
