"""A picture as PNG: for the dashboard's list of files, for slides, for mail.

It has neither bands nor dashes nor logarithmic axes, and no room for thin lines: dashed curves have hues of their own,
of a logarithmic axis the logarithm is shown, and of a curve what lies behind its steep part.
"""

from __future__ import annotations

import math

from tunemax.envs.canvas import COLOURS, Line, draw_cells, draw_rows
from tunemax.envs.canvas import Row as Bar
from tunemax.envs.canvas import draw as draw_lines
from tunemax.search.charts.picture import Axis, Cells, Curve, Curves, Picture, Rows


def draw(picture: Picture) -> bytes:
    """The picture under the words of a file of its own."""
    if isinstance(picture, Cells):
        return _cells(picture)
    return _curves(picture) if isinstance(picture, Curves) else _rows(picture)


def _curves(picture: Curves) -> bytes:
    curves = [curve for curve in picture.shown if curve.look in ("bold", "plain", "dashed") and curve.points]
    curves.sort(key=lambda curve: math.inf if curve.result is None else curve.result)
    dashed = any(curve.look == "dashed" for curve in curves)
    hues = range(len(curves)) if dashed else [curve.hue or 0 for curve in curves]
    lines = [_line(picture, curve, hue) for curve, hue in zip(curves, hues, strict=True)]
    across = f"log10 of the {picture.x.title}" if picture.x.log else picture.x.title
    up = f"log10 of the {_named(picture.y)}" if picture.y.log else _named(picture.y)
    return draw_lines(*picture.still, f"{across}; {up}" if picture.y.unit or picture.y.log else across, lines)


def _line(picture: Curves, curve: Curve, hue: int) -> Line:
    begin = picture.steep * curve.points[-1].x
    points = [
        (math.log10(p.x) if picture.x.log else p.x, math.log10(p.y) if picture.y.log else p.y)
        for p in curve.points
        if p.x >= begin
    ]
    name = f"{curve.of}, {curve.name}" if curve.of else curve.name
    if curve.result is not None:
        name = f"{name} {curve.result:{picture.y.digits}}"
    return Line(name, points, COLOURS[hue % len(COLOURS)])


def _rows(picture: Rows) -> bytes:
    bars = [
        Bar(row.name, row.main.value, row.span, [dot.value for dot in row.dots], COLOURS[row.hue % len(COLOURS)])
        for row in picture.rows
    ]
    return draw_rows(*picture.still, _named(picture.x), bars)


def _cells(picture: Cells) -> bytes:
    shades = [[picture.shade(value) for value in row] for row in picture.values]
    return draw_cells(*picture.still, f"{picture.x.title}; down: {picture.y.title}", shades, COLOURS[picture.hue])


def _named(axis: Axis) -> str:
    return f"{axis.quantity} in {axis.unit}" if axis.unit else axis.quantity
