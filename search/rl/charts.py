"""Where contenders have led the controls, and what became of the loss: figures of a contest."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from tunemax.envs.canvas import COLOURS
from tunemax.envs.steering import Past
from tunemax.search.charts.document import Figure
from tunemax.search.charts.svg import Axis, Plot
from tunemax.search.rl.contest import Contender, Contest

WIDTH, HEIGHT = 680, 300
SHOWN = ("static", "constant")
"""Beside the agents and the best schedule."""
POINTS = 41
"""Of a curve."""
STYLE = (
    "svg { background: #fff; font: 12px system-ui, sans-serif } .line, .grid, .axis { fill: none } "
    ".grid { stroke: #e6e9ef } .axis { stroke: #98a2b3 } .faint { fill: #667085 } .ink { fill: #1f2430 } "
)
Value = Callable[[Past], float]


def figures(contest: Contest) -> list[Figure]:
    """One a control, then the validation loss: medians over the instances, and the middle half of them as a band."""
    names = [*(each.name for each in contest.contenders if each.role == "agent"), *SHOWN, contest.schedule]
    shown = [each for each in contest.contenders if each.name in names]
    dials = contest.scene.task.dials
    found = [
        _figure(contest, shown, dial.name, _control(dial.name), log=dial.move == "multiplicative") for dial in dials
    ]
    return [*found, _figure(contest, shown, "validation loss (nats a token)", lambda past: past.loss, log=False)]


def _control(name: str) -> Value:
    return lambda past: past.controls.get(name, math.nan)


def _figure(contest: Contest, contenders: Sequence[Contender], what: str, value: Value, *, log: bool) -> Figure:
    horizons = [instance.horizon for instance in contest.instances]
    tracks = {each.name: _quartiles(each, horizons, value) for each in contenders}
    values = [y for quartiles in tracks.values() for row in quartiles for y in row if math.isfinite(y)]
    plot = Plot(WIDTH, HEIGHT, Axis(0, 1, f"{what}, by share of the horizon"), Axis.around(values, log=log), right=110)
    for hue, (low, middle, high) in enumerate(tracks.values()):
        xs = np.linspace(0, 1, len(middle)).tolist()
        plot.band(list(zip(xs, low, strict=True)), list(zip(xs, high, strict=True)), hue)
        plot.line(list(zip(xs, middle, strict=True)), hue)
    _name(plot, {name: middle[-1] for name, (_, middle, _) in tracks.items()})
    label = (
        f"{what} by share of the horizon: median over the instances, and the middle half of them, of "
        f"{', '.join(tracks)}."
    )
    return Figure(label, plot.svg(label))


def _name(plot: Plot, ends: dict[str, float]) -> None:
    """Write each name where its line ends, or as little above as the name below it leaves room; one without an end on
    top."""
    hues = {name: hue for hue, name in enumerate(ends)}
    known = {name: end if math.isfinite(end) else plot.y.high for name, end in ends.items()}
    above = math.inf
    for name, end in sorted(known.items(), key=lambda item: item[1]):
        _, down = plot.at(1, end)
        above = min(down, above - 14)
        plot.text(1, end, name, kind=f"word c{hues[name]}", down=4 + above - down)


def _quartiles(each: Contender, horizons: Sequence[int], value: Value) -> tuple[list[float], list[float], list[float]]:
    """Of all runs, at equal shares of the horizon; a training that has diverged is left out from then on."""
    shares = np.linspace(0, 1, POINTS)
    rows = []
    for run in each.runs.values():
        for own, horizon in zip(run, horizons, strict=True):
            places = [past.iteration / horizon for past in own.history]
            rows.append(np.interp(shares, places, [value(past) for past in own.history], right=math.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a share that no training has reached
        low, middle, high = np.nanquantile(np.array(rows), (0.25, 0.5, 0.75), axis=0)
    return low.tolist(), middle.tolist(), high.tolist()


def standalone(figure: Figure) -> str:
    """A figure as a file of its own, in the colours of a light page."""
    hues = "".join(
        f".line.c{hue} {{ stroke: {colour} }} .area.c{hue}, .word.c{hue} {{ fill: {colour} }}"
        for hue, colour in enumerate(COLOURS)
    )
    head, _, rest = figure.svg.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}{hues}</style>{rest}'
