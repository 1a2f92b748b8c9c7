"""A picture as SVG: it follows the page's colours, light or dark, needs no script, and prints.

Classes carry the colours: `ink`, `faint`, `grid` and `c0`, `c1`, … are defined by the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape as escaped

from tunemax.envs.canvas import COLOURS, ticks
from tunemax.gpt.visible import visible
from tunemax.search.charts.picture import Axis, Curve, Curves, Look, Picture, Point, Rows, Size

HUES = len(COLOURS)
TOP, BOTTOM = 14, 44
"""The margins above and below the frame."""
LETTER, LINE = 7.6, 15
"""The width of a letter of a row's name, and the height of a line of text."""
LINES: dict[Look, tuple[float, float]] = {"bold": (2.5, 1), "plain": (2, 1), "thin": (1, 0.4), "dashed": (1.5, 1)}
"""The width of a line, and its opacity."""
STYLE = (
    "svg { background: #fff; font: 12px system-ui, sans-serif } .line, .grid, .axis { fill: none } "
    ".grid { stroke: #e6e9ef } .axis { stroke: #98a2b3 } .faint { fill: #667085 } .ink { fill: #1f2430 } "
)
"""Of a light page."""


def escape(text: str) -> str:
    """Text in which nothing is markup, or hidden."""
    return escaped(visible(text))


def draw(picture: Picture) -> str:
    """The whole picture."""
    plot = _curves(picture) if isinstance(picture, Curves) else _rows(picture)
    box = f'viewBox="0 0 {plot.size.width} {plot.size.height}" width="{plot.size.width}" height="{plot.size.height}"'
    return f'<svg {box} role="img" aria-label="{escape(picture.label)}">{"".join(plot.parts)}</svg>'


def standalone(picture: Picture) -> str:
    """The picture as a file of its own, in the colours of a light page."""
    hues = "".join(
        f".line.c{hue} {{ stroke: {colour} }} .area.c{hue}, .word.c{hue} {{ fill: {colour} }}"
        for hue, colour in enumerate(COLOURS)
    )
    head, _, rest = draw(picture).partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}{hues}</style>{rest}'


@dataclass
class Plot:
    """A frame with two axes that have ends; what is drawn is added to `parts`."""

    size: Size
    x: Axis
    y: Axis
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The horizontal axis lies below everything."""
        self.foot, self.end = self.size.height - BOTTOM, self.size.width - self.size.right
        self.parts.append(f'<path class="axis" d="M{self.size.left},{self.foot}H{self.end}"/>')
        for tick in _ticks(self.x):
            across = self.across(tick)
            self.parts.append(f'<path class="grid" d="M{across:.1f},{TOP}V{self.foot}"/>')
            self.text(across, self.foot + 16, _number(tick), anchor="middle")
        self.text((self.size.left + self.end) / 2, self.size.height - 8, self.x.title, anchor="middle")

    def across(self, x: float) -> float:
        return self.size.left + _place(self.x, x) * (self.end - self.size.left)

    def down(self, y: float) -> float:
        return self.foot - _place(self.y, y) * (self.foot - TOP)

    def levels(self) -> None:
        """Numbers along y, and their lines."""
        for tick in _ticks(self.y):
            down = self.down(tick)
            self.parts.append(f'<path class="grid" d="M{self.size.left},{down:.1f}H{self.end}"/>')
            self.text(self.size.left - 8, down + 4, _number(tick), anchor="end")

    def curve(self, points: Sequence[Point], hue: int, look: Look) -> None:
        """Its band, its line, and a dot where a point has a text."""
        banded = [p for p in points if p.low is not None and p.high is not None and self.inside(p.high)]
        low, high = self.track(banded, lambda p: p.low), self.track(banded[::-1], lambda p: p.high)
        if len(banded) > 1:
            self.parts.append(f'<polygon class="area c{hue}" points="{low} {high}" opacity="0.18"/>')
        if len(points) > 1 and look in LINES:
            width, opacity = LINES[look]
            style = f'stroke-width="{width:g}" opacity="{opacity:g}"'
            style += ' stroke-dasharray="4 4"' if look == "dashed" else ""
            track = self.track(points, lambda p: p.y)
            self.parts.append(f'<polyline class="line c{hue}" points="{track}" {style}/>')
        for point in points:
            if point.text:
                self.dot(self.across(point.x), self.down(point.y), hue, 4, point.text, hollow=point.hollow)

    def inside(self, y: float) -> bool:
        """Whether a value lies no higher than the frame."""
        return -math.inf < y <= (self.y.ends or (0.0, 0.0))[1]

    def track(self, points: Sequence[Point], value: Callable[[Point], float | None]) -> str:
        return " ".join(f"{self.across(p.x):.1f},{self.down(value(p) or 0.0):.1f}" for p in points)

    def dot(
        self, across: float, down: float, hue: int, radius: float, text: str, hollow: bool = False, opacity: float = 1
    ) -> None:
        title = f"<title>{escape(text)}</title>" if text else ""
        self.parts.append(
            f'<circle class="{"ring" if hollow else "area"} c{hue}" cx="{across:.1f}" cy="{down:.1f}" r="{radius:g}"'
            f' opacity="{opacity:g}">{title}</circle>'
        )

    def text(self, across: float, down: float, text: str, *, kind: str = "faint", anchor: str = "start") -> None:
        """down: of the line that letters stand on."""
        self.parts.append(
            f'<text class="{kind}" x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
        )


def _curves(picture: Curves) -> Plot:
    flat = [value for curve in picture.shown for value in picture.flat(curve)]
    xs = [point.x for curve in picture.shown for point in curve.points]
    plot = Plot(picture.size, picture.x.around(xs), picture.y.around(flat))
    plot.levels()
    inside = [(curve, [point for point in curve.points if plot.inside(point.y)]) for curve in picture.shown]
    for curve, points in inside:
        plot.curve(points, _hue(curve), curve.look)
    named = [(curve, points) for curve, points in inside if curve.look in ("bold", "plain") and curve.points]
    if picture.names == "ends":
        _name_ends(plot, [curve for curve, _ in named])
    elif picture.names == "list":
        listed = [curve for curve, points in named if points]
        for row, curve in enumerate(sorted(listed, key=lambda curve: curve.result or 0.0)):
            _name(plot, curve, TOP + 12 + LINE * row)
    return plot


def _name_ends(plot: Plot, curves: Sequence[Curve]) -> None:
    """Each name where its curve ends, or as little above as the name below it leaves room; without an end on top."""
    ends = {place: plot.down(c.points[-1].y) if plot.inside(c.points[-1].y) else TOP for place, c in enumerate(curves)}
    above = math.inf
    for place, down in sorted(ends.items(), key=lambda end: -end[1]):
        above = min(down, above - LINE)
        _name(plot, curves[place], above + 4)


def _name(plot: Plot, curve: Curve, down: float) -> None:
    words = curve.name if curve.result is None else f"{curve.name} {curve.result:.3f}"
    plot.text(plot.end + 5, down, words, kind=f"word c{_hue(curve)}")


def _hue(curve: Curve) -> int:
    return (curve.hue or 0) % HUES


def _rows(picture: Rows) -> Plot:
    count = len(picture.rows)
    left = 20 + round(LETTER * max((len(row.name) for row in picture.rows), default=0))
    size = Size(height=34 * count + TOP + BOTTOM, left=left, right=16)
    plot = Plot(size, picture.fitted, Axis(ends=(count - 0.5, -0.5)))
    for place, row in enumerate(picture.rows):
        plot.text(left - 10, plot.down(place) + 4, row.name, kind="ink", anchor="end")
    if picture.mark is not None:
        plot.parts.append(f'<path class="mark" d="M{plot.across(picture.mark):.1f},{TOP:.1f}V{plot.foot:.1f}"/>')
    for place, row in enumerate(picture.rows):
        hue, down, main = row.hue % HUES, plot.down(place), plot.across(row.main.value)
        if picture.bars:
            box = f'x="{left:.1f}" y="{down - 8:.1f}" width="{main - left:.1f}" height="16"'
            plot.parts.append(f'<rect class="area c{hue}" {box} rx="2"/>')
            plot.text(main + 5, down + 4, row.main.text)
            continue
        radius, opacity = (4, 0.5) if row.span is None else (3, 0.35)
        for dot in row.dots:
            plot.dot(plot.across(dot.value), down, hue, radius, dot.text, opacity=opacity)
        if row.span:
            low, high = map(plot.across, row.span)
            ends = "".join(f"M{end:.1f},{down - 5:.1f}v10" for end in (low, high))
            track = f"M{low:.1f},{down:.1f}H{high:.1f}{ends}"
            plot.parts.append(f'<path class="line c{hue}" stroke-width="2.5" d="{track}"/>')
        plot.dot(main, down, hue, 6, row.main.text)
    return plot


def _place(axis: Axis, value: float) -> float:
    """Where a value stands: 0 at the low end, 1 at the high one."""
    low, high = axis.ends or (0.0, 1.0)
    if axis.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _ticks(axis: Axis) -> list[float]:
    low, high = axis.ends or (0.0, 1.0)
    if not axis.log:
        return ticks(low, high)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if math.log10(high / low) > 2 else (1, 2, 5)
    marks = [factor * 10.0**power for power in decades for factor in factors]
    return [mark for mark in marks if low <= mark <= high]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 and value == round(value) else f"{value:.6g}"
