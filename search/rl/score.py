"""How much of an environment's headroom contenders have won: 0 is the best static setting, 1 the oracle.

On the instances that contest and headroom share, a score is the mean gain of the contender over the mean gain of the
oracle, both as shares of the test loss of the best static setting. A contender starts where instances start wrong, and
the best static setting does not: what the way there costs is in its score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunemax.search.results.statistics import ALPHA, BOOTSTRAP, Array
from tunemax.search.rl.contest import Contender, Contest
from tunemax.search.rl.gains import Headroom, shares
from tunemax.search.views.document import Column, Table, at


@dataclass(frozen=True)
class Score:
    """Of one contender, with its 95 % interval over runs and instances. instances: that both have."""

    name: str
    value: float
    low: float
    high: float
    instances: int


def scores(contest: Contest, headroom: Headroom | None) -> tuple[Score, ...]:
    """The score of each contender, best first; ablations have none.

    None at all where no headroom is known or nothing is to be won, on another set than `test`, and of contenders that
    share fewer than two instances with it.
    """
    if headroom is None or not headroom.any or contest.set != "test":
        return ()
    found = (_score(each, headroom) for each in contest.contenders if each.role != "ablation")
    return tuple(sorted((score for score in found if score), key=lambda score: -score.value))


def _score(contender: Contender, headroom: Headroom) -> Score | None:
    runs = [
        {outcome.instance: outcome.test_loss for outcome in run if outcome.test_loss is not None}
        for run in contender.runs.values()
    ]
    shared = [i for i, name in enumerate(headroom.instances) if all(name in run for run in runs)]
    if len(shared) < 2:
        return None
    names, static = [headroom.instances[i] for i in shared], [headroom.reference.losses[i] for i in shared]
    won = np.array([shares(static, [run[name] for name in names]) for run in runs])
    best = np.array(shares(static, [headroom.oracle.way.losses[i] for i in shared]))
    low, high = _interval(won, best)
    return Score(contender.name, float(won.mean() / best.mean()), low, high, len(shared))


def _interval(won: Array, best: Array) -> Sequence[float]:
    """Ends of the interval of a ratio of means, by the bootstrap: runs and instances are drawn anew, and the contender
    and the oracle have the same ones. won: (runs, instances), best: (instances,).

    A draw in which the oracle wins nothing says that the ratio may be of any size.
    """
    rng = np.random.default_rng(0)
    rows, columns = (rng.integers(0, n, (BOOTSTRAP, n)) for n in won.shape)
    above = won[rows[:, :, None], columns[:, None, :]].mean(axis=(1, 2))
    below = best[columns].mean(axis=1)
    sign = np.where(above < 0, -np.inf, np.inf)
    ratios = np.where(below > 0, above / np.where(below > 0, below, 1.0), sign)
    low, high = np.quantile(ratios, (ALPHA / 2, 1 - ALPHA / 2), method="inverted_cdf").tolist()
    return low, high


def table(found: Sequence[Score]) -> Table[Score]:
    """A row a contender."""
    columns = (
        Column[Score]("", at("name"), words=True),
        Column[Score]("score, 95 %", lambda each: f"{each.value:.2f} ({each.low:.2f} … {each.high:.2f})"),
    )
    return Table(columns, found)


def explained(found: Sequence[Score], headroom: Headroom | None) -> tuple[str, ...]:
    """What the scores are of, or why there are none; nothing where no headroom is known."""
    if headroom is None:
        return ()
    if not found:
        return (headroom.sentence,)
    instances = max(score.instances for score in found)
    return (
        f"Score: 0 is the best static setting, 1 the oracle ({headroom.oracle.way.name}) of tunemax rl headroom, on "
        f"the {instances} test instances that both have. {headroom.sentence}",
    )
