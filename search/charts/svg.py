"""A picture as SVG: it follows the page's colours, light or dark, needs no script, and prints.

Classes carry the colours: `ink`, `faint`, `grid` and `c0`, `c1`, … are defined by the page. All words lie inside the
picture, however long they are; a shortened one is said in full where one points at it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape as escaped
from itertools import pairwise

from tunemax.envs.canvas import COLOURS, ticks
from tunemax.gpt.visible import visible
from tunemax.search.charts.lettering import extent, filled, short
from tunemax.search.charts.picture import Axis, Cells, Curve, Curves, Look, Picture, Point, Rows

HUES = len(COLOURS)
TOP, BOTTOM = 14, 44
"""The margins above and below the frame."""
LINE = 15
"""The height of a line of text."""
NARROW = 358
"""The width of a picture on a phone."""
FRAME = 210
"""A frame is not narrower for the sake of names beside it; they stand below it then."""
NAMES = 0.51
"""The share of a picture that names of rows have at most."""
FAINTEST = 0.02
"""Cells that are lighter are paper."""
EDGE = 16
"""Room at the right of a frame without names."""
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


def draw(picture: Picture, most: int | None = None) -> str:
    """The whole picture, at most so many pixels wide; by default as wide as it is on a page that has room for it."""
    width = min(most or picture.size.width, picture.size.width)
    if isinstance(picture, Cells):
        return _cells(picture, width)
    plot = _curves(picture, width) if isinstance(picture, Curves) else _rows(picture, width)
    box = f'viewBox="0 0 {plot.width} {plot.height}" width="{plot.width}" height="{plot.height}"'
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
    """A frame with two axes that have ends; what is drawn is added to `parts`. All in pixels from the upper left."""

    width: int
    foot: int
    """The lower edge of the frame."""
    left: float
    end: float
    """The right edge of the frame."""
    x: Axis
    y: Axis
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The horizontal axis lies below everything; its title has as many lines as it needs."""
        self.parts.append(f'<path class="axis" d="M{self.left:.1f},{self.foot}H{self.end:.1f}"/>')
        for tick in next(filter(self.apart, _ticks(self.x)), []):
            across = self.across(tick)
            self.parts.append(f'<path class="grid" d="M{across:.1f},{TOP}V{self.foot}"/>')
            self.text(across, self.foot + 16, _number(tick), anchor="middle")
        middle = (self.left + self.end) / 2
        title = filled(self.x.title, max(self.end - self.left, 2 * (self.width - middle) - 8))
        for place, line in enumerate(title):
            self.text(middle, self.foot + 36 + LINE * place, line, anchor="middle")
        self.height = self.foot + BOTTOM + LINE * (len(title) - 1)

    def apart(self, places: Sequence[float]) -> bool:
        """Whether there is room between the numbers at these places of x."""
        halves = [extent(_number(x)) / 2 for x in places]
        ends = [(self.inwards(self.across(x), half), half) for x, half in zip(places, halves, strict=True)]
        return all(left + one + 6 < right - other for (left, one), (right, other) in pairwise(ends))

    def inwards(self, middle: float, half: float) -> float:
        """The middle of a text of that half width, as close by as it lies inside the picture."""
        return min(max(middle, half), self.width - half)

    def across(self, x: float) -> float:
        return self.left + _place(self.x, x) * (self.end - self.left)

    def down(self, y: float) -> float:
        return self.foot - _place(self.y, y) * (self.foot - TOP)

    def levels(self) -> None:
        """Numbers along y, and their lines."""
        for tick in next(_ticks(self.y)):
            down = self.down(tick)
            self.parts.append(f'<path class="grid" d="M{self.left:.1f},{down:.1f}H{self.end:.1f}"/>')
            self.text(self.left - 8, down + 4, _number(tick), anchor="end")

    def curve(self, points: Sequence[Point], hue: int, look: Look, *, grey: bool = False) -> None:
        """Its band, its line, and a dot where a point has a text."""
        banded = [p for p in points if p.low is not None and p.high is not None and self.inside(p.high)]
        low, high = self.track(banded, lambda p: p.low), self.track(banded[::-1], lambda p: p.high)
        if len(banded) > 1:
            self.parts.append(f'<polygon class="area c{hue}" points="{low} {high}" opacity="0.18"/>')
        if len(points) > 1 and look in LINES:
            width, opacity = LINES[look]
            style = f'stroke-width="{width:g}" opacity="{opacity:g}"'
            style += ' stroke-dasharray="4 4"' if look == "dashed" else ""
            style = 'stroke="#98a2b3" fill="none"' if grey else style  # where no page says how a mark looks
            track = self.track(points, lambda p: p.y)
            self.parts.append(f'<polyline class="{"mark" if grey else f"line c{hue}"}" points="{track}" {style}/>')
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

    def text(
        self, across: float, down: float, text: str, *, kind: str = "faint", anchor: str = "start", whole: str = ""
    ) -> None:
        """down: of the line that letters stand on. whole: what it stands for, if it is shortened already."""
        shown = short(text, {"start": self.width - across, "end": across}.get(anchor, self.width))
        across = self.inwards(across, extent(shown) / 2) if anchor == "middle" else across
        whole = whole or text
        title = "" if whole in shown else f"<title>{escape(whole)}</title>"
        place = f'x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}"'
        self.parts.append(f'<text class="{kind}" {place}>{title}{escape(shown)}</text>')


def _curves(picture: Curves, width: int) -> Plot:
    flat = [value for curve in picture.shown for value in picture.flat(curve)]
    xs = [point.x for curve in picture.shown for point in curve.points]
    x, y = picture.x.around(xs), picture.y.around(flat)
    foot = picture.size.height - BOTTOM
    left = 16 + max(map(extent, map(_number, next(_ticks(y)))), default=0)
    named = [curve for curve in picture.shown if picture.names and curve.look in ("bold", "plain") and curve.points]
    margin = max([EDGE, *(10 + extent(_words(curve)) for curve in named)])
    beside = width - left - margin >= FRAME and len(named) * LINE <= foot - TOP
    plot = Plot(width, foot, left, width - (margin if beside else EDGE), x, y)
    plot.levels()
    for curve in picture.shown:
        points = [point for point in curve.points if plot.inside(point.y)]
        plot.curve(points, _hue(curve), curve.look, grey=curve.hue is None)
    listed = sorted(named, key=lambda curve: curve.result or 0.0)
    if not beside:
        _name_below(plot, listed)
    elif picture.names == "ends":
        _name_ends(plot, named)
    else:
        for row, curve in enumerate(listed):
            _name(plot, curve, plot.end + 5, TOP + 12 + LINE * row)
    return plot


def _name_ends(plot: Plot, curves: Sequence[Curve]) -> None:
    """Each name where its curve ends, or as near to it as the others leave room; without an end on top."""
    last = {place: curve.points[-1].y for place, curve in enumerate(curves)}
    ends = {place: plot.down(y) if plot.inside(y) else TOP for place, y in last.items()}
    lowest_first = sorted(ends, key=lambda place: -ends[place])
    above = math.inf
    for rank, place in enumerate(lowest_first):
        room = TOP + LINE * (len(curves) - 1 - rank)  # what the names above it need
        above = max(min(ends[place], above - LINE), room)
        _name(plot, curves[place], plot.end + 5, above + 4)


def _name_below(plot: Plot, curves: Sequence[Curve]) -> None:
    """All names one after the other, in as many lines as they need."""
    across, gap = 8.0, 16.0
    for curve in curves:
        needed = extent(_words(curve))
        if across > 8 and across + needed > plot.width:
            across, plot.height = 8.0, plot.height + LINE
        _name(plot, curve, across, plot.height + 8)
        across += needed + gap
    plot.height += LINE if curves else 0


def _name(plot: Plot, curve: Curve, across: float, down: float) -> None:
    plot.text(across, down, _words(curve), kind=f"word c{_hue(curve)}", whole=curve.name)


def _words(curve: Curve) -> str:
    return short(curve.name) if curve.result is None else f"{short(curve.name)} {curve.result:.3f}"


def _hue(curve: Curve) -> int:
    return (curve.hue or 0) % HUES


def _rows(picture: Rows, width: int) -> Plot:
    count = len(picture.rows)
    left = 20 + min(max((extent(row.name) for row in picture.rows), default=0), NAMES * width)
    right = max([EDGE, *(8 + extent(row.main.text) for row in picture.rows if picture.bars)])
    plot = Plot(width, 34 * count + TOP, left, width - right, picture.fitted, Axis(ends=(count - 0.5, -0.5)))
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


def _cells(picture: Cells, width: int) -> str:
    """Cells of equal sides. Their names stand beside them where they are letters; else they are told where one points
    at a cell."""
    columns, rows = max(len(picture.across), 1), max(len(picture.down), 1)
    lettered = all(len(name) <= 1 for name in (*picture.across, *picture.down))
    left = 2 * LINE if lettered else LINE
    side = (width - left - 2) / columns
    foot = 1 + side * rows
    height = round(foot) + left + 4
    parts = [
        f'<rect class="axis" x="{left}" y="1" width="{side * columns:.1f}" height="{side * rows:.1f}"/>',
        f'<text class="faint" x="{width / 2:.0f}" y="{height - 3}" text-anchor="middle">'
        f"{escape(picture.x.title)}</text>",
        f'<text class="faint" transform="translate(11 {foot / 2:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(picture.y.title)}</text>",
    ]
    if lettered:
        small = 'class="faint" font-size="9" text-anchor="middle"'
        across = ((left + side * (place + 0.5), foot + 10, name) for place, name in enumerate(picture.across))
        down = ((left - 7, side * (place + 0.5) + 4, name) for place, name in enumerate(picture.down))
        placed = ((x, y, escape(_letter(name))) for x, y, name in (*across, *down))
        parts += [f'<text {small} x="{x:.1f}" y="{y:.1f}">{name}</text>' for x, y, name in placed]
    for row, (name, values) in enumerate(zip(picture.down, picture.values, strict=True)):
        for column, value in enumerate(values):
            if (shade := picture.shade(value)) >= FAINTEST:
                box = f'x="{left + side * column:.1f}" y="{1 + side * row:.1f}" width="{side:.1f}" height="{side:.1f}"'
                told = escape(f"{_letter(name)} ← {_letter(picture.across[column])}: {value:.3g}")
                paint = f'class="area c{picture.hue % HUES}" opacity="{shade:.2f}"'
                parts.append(f"<rect {paint} {box}><title>{told}</title></rect>")
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {box} role="img" aria-label="{escape(picture.label)}">{"".join(parts)}</svg>'


def _letter(name: str) -> str:
    """A name with marks for what nobody sees."""
    return name.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣")


def _place(axis: Axis, value: float) -> float:
    """Where a value stands: 0 at the low end, 1 at the high one."""
    low, high = axis.ends or (0.0, 1.0)
    if axis.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _ticks(axis: Axis) -> Iterator[list[float]]:
    """Round values between the ends of an axis, fewer each time."""
    low, high = axis.ends or (0.0, 1.0)
    if axis.log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps: list[tuple[tuple[int, ...], int]] = [
            ((1, 2, 5), 1),
            ((1, 3), 1),
            *(((1,), step) for step in range(1, 9)),
        ]
        for factors, step in steps[2 if math.log10(high / low) > 2 else 0 :]:
            marks = [factor * 10.0**power for power in decades if power % step == 0 for factor in factors]
            if len(shown := [mark for mark in marks if low <= mark <= high]) > 1:
                yield shown
    for about in (6, 5, 4, 3, 2):
        yield [tick for tick in ticks(low, high, about) if tick > 0 or not axis.log]  # far apart, 0 is round, too


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 and value == round(value) else f"{value:.6g}"
