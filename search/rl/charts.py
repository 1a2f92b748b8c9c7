"""Where contenders have led the controls, and what became of the loss: pictures of a contest."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from tunemax.envs.steering import Past
from tunemax.search.charts.picture import Axis, Curve, Curves, Point, Size
from tunemax.search.rl.contest import Contender, Contest

SHOWN = ("static", "constant")
"""Beside the agents and the best schedule."""
POINTS = 41
"""Of a curve."""
Value = Callable[[Past], float]


def pictures(contest: Contest) -> list[Curves]:
    """One a control, then the validation loss: medians over the instances, and the middle half of them as a band."""
    names = [*(each.name for each in contest.contenders if each.role == "agent"), *SHOWN, contest.schedule]
    shown = [each for each in contest.contenders if each.name in names]
    drawn = []
    for dial in contest.scene.task.dials:
        log = dial.move == "multiplicative"
        drawn.append(_picture(contest, shown, dial.name, _control(dial.name), log=log))
    return [*drawn, _picture(contest, shown, "validation loss (nats a token)", lambda past: past.loss, log=False)]


def _control(name: str) -> Value:
    return lambda past: past.controls.get(name, math.nan)


def _picture(contest: Contest, contenders: Sequence[Contender], what: str, value: Value, *, log: bool) -> Curves:
    horizons = [instance.horizon for instance in contest.instances]
    curves = []
    for hue, each in enumerate(contenders):
        shares = np.linspace(0, 1, POINTS).tolist()
        columns = zip(shares, *_quartiles(each, horizons, value), strict=True)
        curves.append(Curve(each.name, hue, [Point(share, middle, low, high) for share, low, middle, high in columns]))
    return Curves(
        label=f"{what} by share of the horizon: median over the instances, and the middle half of them, of "
        f"{', '.join(curve.name for curve in curves)}.",
        x=Axis(f"{what}, by share of the horizon", ends=(0, 1)),
        y=Axis(what, log=log),
        curves=curves,
        size=Size(height=300),
    )


def _quartiles(each: Contender, horizons: Sequence[int], value: Value) -> tuple[list[float], list[float], list[float]]:
    """Of all runs, at equal shares of the horizon; a training that has diverged is left out from then on."""
    shares = np.linspace(0, 1, POINTS)
    rows = []
    for run in each.runs.values():
        for outcome, horizon in zip(run, horizons, strict=True):
            places = [past.iteration / horizon for past in outcome.history]
            rows.append(np.interp(shares, places, [value(past) for past in outcome.history], right=math.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a share that no training has reached
        low, middle, high = np.nanquantile(np.array(rows), (0.25, 0.5, 0.75), axis=0)
    return low.tolist(), middle.tolist(), high.tolist()
