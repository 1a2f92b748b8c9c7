"""Figures of a question for the dashboard, as Plotly's own plain data: its learning curves, its ranges, and where
learnables went.

They are drawn by the browser, so nothing of Plotly is needed here. Colours are readable on a light page and on a dark
one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tunemax.envs.canvas import COLOURS
from tunemax.gpt.probe import STANDS_FOR
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.results.confirmation import Confirmation
from tunemax.search.results.leaderboard import TOP, Candidate, Leaderboard, leaders
from tunemax.search.results.sensitivity import rate_curves
from tunemax.search.storage.attributes import TRAJECTORY

Figure = dict[str, Any]
"""``{"data": [trace, …], "layout": {…}}``; see https://plotly.com/javascript/reference."""

GREY = "#8a8f98"
POINTS = 40
"""Of a curve, at the most: a figure is read by every open page every few seconds."""
EARLY = 0.2
"""The share of the horizon whose losses may lie above the frame."""


def learning_curves(candidates: Sequence[Candidate]) -> Figure:
    """Validation loss by iteration: each candidate's best trial bold, the next four thin, the running ones dotted."""
    traces, late = [], []
    for colour, candidate in zip(_colours(candidates), candidates, strict=True):
        best = leaders(candidate.trials)
        running = [trial for trial in candidate.trials if trial.state == TrialState.RUNNING]
        styles = (
            (best[:1], {"width": 3}, "lines+markers", 1.0),
            (best[1:], {"width": 1}, "lines", 0.45),
            (running, {"width": 1.5, "dash": "dot"}, "lines", 0.8),
        )
        shown = False
        for trials, line, mode, opacity in styles:
            curves = [(trial, _thinned(trial.intermediate_values)) for trial in trials if trial.intermediate_values]
            if not curves:
                continue
            x, y, text = _joined(
                (list(points), list(points.values()), f"trial {trial.number}") for trial, points in curves
            )
            trace = {
                "type": "scatter",
                "x": x,
                "y": y,
                "text": text,
                "name": candidate.name,
                "legendgroup": candidate.name,
            }
            marker = {"size": 5, "color": colour}
            traces.append(
                trace | {"mode": mode, "line": line | {"color": colour}, "marker": marker, "opacity": opacity}
            )
            traces[-1] |= {
                "showlegend": not shown,
                "hovertemplate": f"{candidate.name} %{{text}}<br>%{{x}}: %{{y:.4f}}<extra></extra>",
            }
            shown = True
            late += [loss for _, points in curves for at, loss in points.items() if at >= EARLY * max(points)]
    layout = _layout(
        "Learning curves",
        "the best trial, the next four thin, the running dotted",
        "iteration",
        "validation loss (nats a token)",
    )
    if late:
        layout["yaxis"]["range"] = _padded(min(late), max(late))
    return {"data": traces, "layout": layout}


def ranges(board: Leaderboard, candidates: Sequence[Candidate]) -> Figure:
    """The best five results of each candidate on a line, best candidate on top: where two overlap, the order is not
    sure."""
    colours = dict(zip((candidate.name for candidate in candidates), _colours(candidates), strict=True))
    traces = []
    for entry in board.entries:
        top = [_short(value) for value in entry.values[:TOP] if math.isfinite(value)]
        if not top:
            continue
        marker = {
            "color": colours[entry.name],
            "size": [13, *[7] * (len(top) - 1)],
            "opacity": [1, *[0.6] * (len(top) - 1)],
        }
        trace = {"type": "scatter", "mode": "lines+markers", "x": top, "y": [entry.name] * len(top), "marker": marker}
        traces.append(
            trace
            | {"line": {"color": colours[entry.name], "width": 3}, "hovertemplate": "%{y}: %{x:.4f}<extra></extra>"}
        )
    layout = _layout(
        "Leaderboard", "the best five results of each candidate", "validation loss at the horizon (nats a token)", ""
    )
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    return {"data": traces, "layout": layout | {"showlegend": False}}


def intervals(found: Confirmation, candidates: Sequence[Candidate]) -> Figure:
    """The mean loss of each confirmed winner with its 95 % interval, and every seed as a small point; the best on
    top."""
    colours = dict(zip((candidate.name for candidate in candidates), _colours(candidates), strict=True))
    traces: list[Figure] = []
    for entry in found.entries:
        if entry.estimate is None:
            continue
        colour, mean = colours.get(entry.candidate, GREY), entry.estimate
        losses = [_short(loss) for _, loss in sorted(entry.losses.items())]
        seeds = [f"seed {seed}" for seed in sorted(entry.losses)]
        dots = {"type": "scatter", "mode": "markers", "x": losses, "y": [entry.candidate] * len(losses), "text": seeds}
        traces.append(
            dots
            | {
                "marker": {"color": colour, "size": 5, "opacity": 0.35},
                "hovertemplate": "%{text}: %{x:.4f}<extra></extra>",
            }
        )
        span = {
            "type": "data",
            "symmetric": False,
            "array": [_short(mean.high - mean.mean)],
            "arrayminus": [_short(mean.mean - mean.low)],
        }
        point = {
            "type": "scatter",
            "mode": "markers",
            "x": [_short(mean.mean)],
            "y": [entry.candidate],
            "marker": {"color": colour, "size": 11},
        }
        hover = f"{entry.candidate}: {mean.mean:.4f} ({mean.low:.4f} … {mean.high:.4f})<extra></extra>"
        traces.append(point | {"error_x": span | {"color": colour, "thickness": 3, "width": 8}, "hovertemplate": hover})
    title = f"Confirmed at {found.horizon:,} iterations"
    layout = _layout(
        title, "mean over fresh seeds, 95 % interval; small: each seed", "validation loss (nats a token)", ""
    )
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    return {"data": traces, "layout": layout | {"showlegend": False}}


def trajectories(candidate: Candidate) -> Figure | None:
    """How the learnables of a candidate moved, beside what they stand for. None if it has none.

    Of its best trial layer by layer, of its next four as means.
    """
    found = [
        (trial, json.loads(told)) for trial in leaders(candidate.trials) if (told := trial.system_attrs.get(TRAJECTORY))
    ]
    names = learnables(found[0][1]) if found else []
    if not names:
        return None
    traces: list[Figure] = []
    explained = "each layer of the best trial, means of the next four; dashed: what it stands for, as measured"
    layout = _layout(f"{' and '.join(names)} of {candidate.name}", explained, "iteration", "")
    for row, name in enumerate(names):
        axis = "" if row == 0 else str(row + 1)
        drawn = _moved(found, name, legend=row == 0)
        traces += [trace | {"yaxis": f"y{axis}"} for trace in drawn]
        height = 1 / len(names)
        low, high = 1 - (row + 1) * height + (0.06 if row < len(names) - 1 else 0), 1 - row * height
        values = [value for trace in drawn for value in trace["y"]]
        wide = min(values) > 0 and max(values) / min(values) > 5
        layout[f"yaxis{axis}"] = _axis(name) | {"domain": [low, high], "type": "log" if wide else "linear"}
    layout["xaxis"] |= {"anchor": f"y{len(names)}" if len(names) > 1 else "y"}
    return {"data": traces, "layout": layout}


def _moved(found: Sequence[tuple[FrozenTrial, Mapping[str, Any]]], name: str, *, legend: bool) -> list[Figure]:
    """The traces of one learnable: the next four trials below, the best one's layers, and what the learnable stands for
    on top."""
    best, told = found[0]
    traces = []
    for trial, other in reversed(found[1:]):
        if name in other:  # else a trial of other settings
            means = [sum(layers) / len(layers) for layers in other[name]]
            hover = f"{name} of trial {trial.number}"
            traces.append(
                _trace(other["iteration"], means, "mean of the next four", hover, {"color": GREY, "width": 1})
            )
    for true, style in ((name, {"width": 3}), (STANDS_FOR.get(name, ""), {"width": 1.5, "dash": "dash"})):
        for layer, column in enumerate(zip(*told.get(true, ()), strict=True)):
            hover = f"{true} of trial {best.number}"
            traces.append(
                _trace(
                    told["iteration"], column, f"layer {layer}", hover, style | {"color": COLOURS[layer % len(COLOURS)]}
                )
            )
    seen: set[str] = set()
    for trace in traces:
        trace["showlegend"] = legend and trace["name"] not in seen
        seen.add(trace["name"])
    return traces


def _trace(x: Sequence[int], y: Sequence[float], label: str, hover: str, line: Figure) -> Figure:
    points = _thinned(dict(zip(x, y, strict=True)))
    trace = {
        "type": "scatter",
        "mode": "lines",
        "x": list(points),
        "y": list(points.values()),
        "name": label,
        "line": line,
    }
    return trace | {"legendgroup": label, "hovertemplate": f"{hover}<br>%{{x}}: %{{y:.4g}}<extra>{label}</extra>"}


def learning_rates(definition: StudyDefinition, candidates: Sequence[Candidate]) -> Figure | None:
    """The mean loss of each candidate over learning rates, with its 95 % interval.

    None unless the study is a grid of them.
    """
    curves = rate_curves(definition, candidates)
    colours = dict(zip((candidate.name for candidate in candidates), _colours(candidates), strict=True))
    traces = []
    for name, points in curves.items():
        known = [point for point in points if math.isfinite(point.mean)]
        half = [_short((point.interval.high - point.interval.low) / 2) if point.interval else 0.0 for point in known]
        lost = [f"{len(point.caps)} of {len(point.caps) + len(point.losses)} diverged" for point in known]
        trace: Figure = {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "text": lost,
            "line": {"color": colours[name], "width": 2},
        }
        trace |= {"x": [point.rate for point in known], "y": [_short(point.mean) for point in known]}
        trace |= {"error_y": {"type": "data", "array": half, "color": colours[name]}}
        traces.append(trace | {"hovertemplate": f"{name} at %{{x}}: %{{y:.4f}}<br>%{{text}}<extra></extra>"})
    if not traces:
        return None
    layout = _layout(
        "Learning rate", "mean over seeds with its 95 % interval", "learning rate", "validation loss (nats a token)"
    )
    layout["xaxis"]["type"] = "log"
    return {"data": traces, "layout": layout}


def learnables(trajectory: Mapping[str, Any]) -> list[str]:
    """The learnables of a trajectory; beside them it has what they stand for."""
    return [name for name in trajectory if name not in ("iteration", *STANDS_FOR.values())]


def _thinned(points: Mapping[int, float]) -> dict[int, float]:
    """Not more than POINTS of a curve, first and last among them; a value that is no number ends up as a gap."""
    steps = sorted(points)
    every = max(1, math.ceil((len(steps) - 1) / (POINTS - 1)))
    kept = {*steps[::every], *steps[-1:]}
    return {step: _short(points[step]) for step in sorted(kept) if math.isfinite(points[step])}


def _joined(
    curves: Iterable[tuple[list[int], list[float], str]],
) -> tuple[list[int | None], list[float | None], list[str]]:
    """Many curves as one trace, a gap between two of them: a legend of one line, and half the text."""
    x: list[int | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for steps, values, label in curves:
        if x:
            x, y, text = [*x, None], [*y, None], [*text, ""]
        x, y, text = [*x, *steps], [*y, *values], [*text, *[label] * len(steps)]
    return x, y, text


def _colours(candidates: Sequence[Candidate]) -> list[str]:
    """One each, by its place in the question: it keeps it while ranks change."""
    return [COLOURS[index % len(COLOURS)] for index in range(len(candidates))]


def _layout(title: str, explained: str, x: str, y: str) -> Figure:
    return {
        "title": {"text": f"<b>{title}</b><br><sub>{explained}</sub>", "font": {"size": 16}, "x": 0, "xanchor": "left"},
        "font": {"color": GREY},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 60, "r": 20, "t": 60, "b": 50},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY},
        "hovermode": "closest",
        "uirevision": "kept",  # a zoom survives the next version
        "xaxis": _axis(x),
        "yaxis": _axis(y),
    }


def _axis(title: str) -> Figure:
    line = "rgba(138,143,152,0.25)"
    return {
        "title": {"text": title, "standoff": 10},
        "gridcolor": line,
        "zeroline": False,
        "linecolor": line,
        "automargin": True,
    }


def _padded(low: float, high: float) -> list[float]:
    pad = 0.05 * (high - low) or 0.01
    return [_short(low - pad), _short(high + pad)]


def _short(value: float) -> float:
    """Six digits: enough to look at."""
    return float(f"{value:.6g}")
