"""A picture for the dashboard, as Plotly's own plain data.

It is drawn by the browser, so nothing of Plotly is needed here, and every open page reads it every few seconds: a curve
has not more than POINTS. Colours are readable on a light page and on a dark one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from tunemax.envs.canvas import COLOURS
from tunemax.search.charts.lettering import short
from tunemax.search.charts.picture import Cells, Curve, Curves, Look, Picture, Point, Row, Rows, Words

Figure = dict[str, Any]
"""``{"data": [trace, …], "layout": {…}}``; see https://plotly.com/javascript/reference."""

GREY = "#8a8f98"
POINTS = 40
LINES: dict[Look, tuple[Figure, float]] = {
    "bold": ({"width": 3}, 1.0),
    "plain": ({"width": 3}, 1.0),
    "thin": ({"width": 1}, 0.45),
    "dashed": ({"width": 1.5, "dash": "dash"}, 1.0),
    "dotted": ({"width": 1.5, "dash": "dot"}, 0.8),
}
"""How a line looks, and its opacity."""


def draw(*pictures: Picture) -> Figure:
    """Several pictures of curves lie one below the other, under the title of the first and over one axis."""
    first, *_ = pictures
    if isinstance(first, Rows):
        return _rows(first)
    if isinstance(first, Cells):
        return _cells(first)
    return _curves([picture for picture in pictures if isinstance(picture, Curves)])


def _curves(panels: Sequence[Curves]) -> Figure:
    traces: list[Figure] = []
    layout = _layout(panels[0], panels[0].y.title)
    layout["xaxis"] |= {"type": "log" if panels[0].x.log else "linear"}
    for row, panel in enumerate(panels):
        thinned = replace(panel, curves=[_thinned(curve) for curve in panel.curves])
        axis, height = str(row + 1) if row else "", 1 / len(panels)
        low, high = 1 - (row + 1) * height + (0.06 if row < len(panels) - 1 else 0), 1 - row * height
        values = [point.y for curve in thinned.curves for point in curve.points]
        kind = "log" if panel.y.around(values).log else "linear"
        layout[f"yaxis{axis}"] = _axis(panel.y.title) | {"domain": [low, high], "type": kind}
        layout["xaxis"]["anchor"] = f"y{axis}"
        flat = [value for curve in thinned.curves for value in panel.flat(curve)]
        if panel.steep and flat:
            pad = 0.05 * (max(flat) - min(flat)) or 0.01
            layout[f"yaxis{axis}"]["range"] = [_short(min(flat) - pad), _short(max(flat) + pad)]
        traces += [trace | {"yaxis": f"y{axis}"} for trace in _traces(thinned)]
    for trace in traces:  # the legend shows each name once, with the boldest of its lines
        same = (other for other in traces if other["legendgroup"] == trace["legendgroup"])
        trace["showlegend"] = trace is max(same, key=lambda other: other["line"]["width"])
    return {"data": traces, "layout": layout}


def _traces(panel: Curves) -> list[Figure]:
    """Curves of one name and look are one trace, with gaps between them: half the text."""
    traces = []
    for (name, look, of), group in groupby(panel.curves, lambda curve: (curve.name, curve.look, curve.of)):
        curves = [curve for curve in group if curve.points]
        if not curves:
            continue
        x, y, texts, halves = map(list, zip(*[p for curve in curves for p in _columns(curve)][1:], strict=True))
        pointed = any(point.text for curve in curves for point in curve.points)
        line, opacity = LINES[look]
        colour = _colour(curves[0].hue)
        trace: Figure = {"type": "scatter", "x": x, "y": y, "name": short(name), "legendgroup": name}
        trace |= {"mode": "lines+markers" if look == "bold" or pointed else "lines", "line": line | {"color": colour}}
        trace |= {"opacity": opacity if curves[0].hue is not None else 1.0}
        if look == "bold":
            trace["marker"] = {"size": 5, "color": colour}
        if pointed:
            trace |= {"text": texts, "hovertemplate": "%{text}<extra></extra>"}
            trace["line"] |= {"width": 2}  # its dots matter
        else:
            source = "%{text}" if len(curves) > 1 else curves[0].source
            begin, end = (f"{of} of {source}", name) if of else (f"{name} {source}", "")
            trace["hovertemplate"] = f"{begin}<br>%{{x}}: %{{y:{panel.y.digits}}}<extra>{end}</extra>"
            trace |= {"text": texts} if len(curves) > 1 else {}
        if any(halves):
            trace["error_y"] = {"type": "data", "array": halves, "color": colour}
        traces.append(trace)
    return traces


def _columns(curve: Curve) -> list[tuple[float | None, float | None, str, float]]:
    """A gap, then x, y, text and half of the interval of each point."""
    halves = [0.0 if p.low is None or p.high is None else _short((p.high - p.low) / 2) for p in curve.points]
    points = [(p.x, p.y, p.text or curve.source, half) for p, half in zip(curve.points, halves, strict=True)]
    return [(None, None, "", 0.0), *points]


def _cells(picture: Cells) -> Figure:
    layout = _layout(picture, picture.y.title)
    layout["xaxis"] |= {"tickvals": list(range(len(picture.across))), "ticktext": list(picture.across)}
    layout["yaxis"] |= {"tickvals": list(range(len(picture.down))), "ticktext": list(picture.down)}
    layout["yaxis"] |= {"autorange": "reversed"}
    clear = f"rgba{(*(int(_colour(picture.hue)[at : at + 2], 16) for at in (1, 3, 5)), 0)}"
    trace: Figure = {"type": "heatmap", "z": [list(map(_finite, row)) for row in picture.values]}
    trace |= {"zmin": 0, "zmax": _short(picture.darkest), "colorscale": [[0, clear], [1, _colour(picture.hue)]]}
    return {"data": [trace | {"hovertemplate": "%{y} ← %{x}: %{z}<extra></extra>"}], "layout": layout}


def _rows(picture: Rows) -> Figure:
    layout = _layout(picture, "") | {"showlegend": False}
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    names = {row.name: short(row.name) for row in picture.rows}
    if list(names) != list(names.values()):  # rows of two long names stay two
        layout["yaxis"] |= {"tickvals": list(names), "ticktext": list(names.values())}
    return {"data": [trace for row in picture.rows for trace in _row(row)], "layout": layout}


def _row(row: Row) -> list[Figure]:
    """Results of one search on a line, their best largest; or seeds faintly, and their mean with its interval."""
    colour = _colour(row.hue)
    dots = [row.main, *reversed(row.dots)] if row.span is None else list(row.dots)
    trace: Figure = {"type": "scatter", "x": [_short(dot.value) for dot in dots], "y": [row.name] * len(dots)}
    trace |= {"text": [dot.text for dot in dots], "hovertemplate": "%{text}<extra></extra>"}
    if row.span is None:
        rest = len(dots) - 1
        marker = {"color": colour, "size": [13, *[7] * rest], "opacity": [1, *[0.6] * rest]}
        return [trace | {"mode": "lines+markers", "marker": marker, "line": {"color": colour, "width": 3}}]
    low, high = row.main.value - row.span[0], row.span[1] - row.main.value
    span = {"type": "data", "symmetric": False, "array": [_short(high)], "arrayminus": [_short(low)]}
    mean = trace | {"x": [_short(row.main.value)], "y": [row.name], "text": [row.main.text], "mode": "markers"}
    mean |= {"marker": {"color": colour, "size": 11}, "error_x": span | {"color": colour, "thickness": 3, "width": 8}}
    return [trace | {"mode": "markers", "marker": {"color": colour, "size": 5, "opacity": 0.35}}, mean]


def _thinned(curve: Curve) -> Curve:
    """Not more than POINTS of a curve, first and last among them; what is no number is left out."""
    every = max(1, math.ceil((len(curve.points) - 1) / (POINTS - 1)))
    kept: list[Point] = list(curve.points[::every])
    if curve.points and kept[-1] is not curve.points[-1]:
        kept.append(curve.points[-1])
    return replace(curve, points=[point._replace(y=_short(point.y)) for point in kept if math.isfinite(point.y)])


def _colour(hue: int | None) -> str:
    return GREY if hue is None else COLOURS[hue % len(COLOURS)]


def _layout(words: Words, y: str) -> Figure:
    title = f"<b>{words.title}</b><br><sub>{words.note}</sub>"
    return {
        "title": {"text": title, "font": {"size": 16}, "x": 0, "xanchor": "left"},
        "font": {"color": GREY},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 60, "r": 20, "t": 60, "b": 50},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY},
        "hovermode": "closest",
        "uirevision": "kept",  # a zoom survives the next version
        "xaxis": _axis(words.x.title),
        "yaxis": _axis(y),
    }


def _axis(title: str) -> Figure:
    line = "rgba(138,143,152,0.25)"
    axis: Figure = {"title": {"text": title, "standoff": 10}, "gridcolor": line, "zeroline": False}
    return axis | {"linecolor": line, "automargin": True}


def _finite(value: float) -> float | None:
    """None where a cell has no value."""
    return _short(value) if math.isfinite(value) else None


def _short(value: float) -> float:
    """Six digits: enough to look at."""
    return float(f"{value:.6g}")
