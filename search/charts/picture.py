"""A picture as data: its axes, what lies on them, in which hue, and its words; nothing of how it is drawn.

Three renderers draw it, each as its place asks for: `plotly` for the dashboard, which can zoom and point; `svg` for a
page; `png` as a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Look = Literal["bold", "plain", "thin", "dashed", "dotted", "dots"]
SPREAD = 5
"""Values further apart than this factor are shown on a logarithmic axis, where an axis leaves that open."""


@dataclass(frozen=True)
class Axis:
    """What an axis counts, and from where to where."""

    quantity: str = ""
    unit: str = ""
    ends: tuple[float, float] | None = None
    """None: around what is drawn."""
    log: bool | None = False
    """None: if what is drawn is further apart than SPREAD."""
    digits: str = ".4f"
    """How a value is written, as a format."""

    @property
    def title(self) -> str:
        return f"{self.quantity} ({self.unit})" if self.unit else self.quantity

    def around(self, values: Sequence[float], pad: float = 0.05) -> Axis:
        """This axis with ends, if it has none: it shows all finite values, with some room; never of length 0."""
        finite = [value for value in values if math.isfinite(value)]
        log = self.log
        if log is None:
            log = bool(finite) and min(finite) > 0 and max(finite) / min(finite) > SPREAD
        if self.ends:
            return replace(self, log=log)
        places = [math.log(value) if log else value for value in finite if value > 0 or not log]
        low, high = (min(places), max(places)) if places else (0.0, 1.0)
        room = (high - low) * pad or (abs(low) * 0.01 or 0.5)
        low, high = low - room, high + room
        return replace(self, ends=(math.exp(low), math.exp(high)) if log else (low, high), log=log)


class Point(NamedTuple):
    """A point of a curve, with its interval along y if it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    text: str = ""
    """What is told where one points at it; a point with a text is seen as a dot."""
    hollow: bool = False


@dataclass(frozen=True)
class Curve:
    """Points in the order of x. Intervals of its points are a band."""

    name: str
    """In the legend; curves of one thing share it."""
    hue: int | None
    """Which of the colours of what stands side by side; None: grey."""
    points: Sequence[Point]
    look: Look = "plain"
    source: str = ""
    """Where it is from, such as a trial."""
    of: str = ""
    """The quantity, in a picture of several."""
    result: float | None = None
    """The number that is written beside its name."""
    aside: bool = False
    """Background, which crowds a picture that nobody can point at: for the dashboard only."""


@dataclass(frozen=True)
class Size:
    """Of a picture on a page that is wide enough, in pixels, without names that stand below it."""

    width: int = 680
    height: int = 340


@dataclass(frozen=True, kw_only=True)
class Words:
    """What all pictures have: words, and an axis that lies across."""

    title: str = ""
    note: str = ""
    """A line below the title, in small letters."""
    still: tuple[str, str] = ("", "")
    """Title and note where the picture is a file of its own: nothing around it says of which question it is."""
    label: str = ""
    """On a page, below it, and for those who cannot see it."""
    x: Axis
    size: Size = Size()
    """Rows are as high as they need."""


@dataclass(frozen=True, kw_only=True)
class Curves(Words):
    """Curves over a common axis, in the order in which they are drawn: a later one lies above."""

    y: Axis
    curves: Sequence[Curve]
    steep: float = 0.0
    """The share of a curve, from its start, that may lie above the frame: there it falls too far to see the rest."""
    names: Literal["ends", "list", ""] = "ends"
    """Where curves are named on a page: at their ends, or beside the frame by their results; below it for want of
    room."""

    @property
    def shown(self) -> Sequence[Curve]:
        """Those that are no asides."""
        return [curve for curve in self.curves if not curve.aside]

    def flat(self, curve: Curve) -> list[float]:
        """The values of a curve behind its steep part. Intervals are wide at the start, and count from twice as far."""
        last = self.steep * max((point.x for point in curve.points), default=0)
        values = [point.y for point in curve.points if point.x >= last]
        for point in curve.points:
            values += [end for end in (point.low, point.high) if end is not None and point.x >= 2 * last]
        return values


class Dot(NamedTuple):
    """A value in a row, and what is told where one points at it."""

    value: float
    text: str = ""


@dataclass(frozen=True)
class Row:
    """A value with its interval, if it has one, and the single results beside it as smaller dots."""

    name: str
    hue: int
    main: Dot
    span: tuple[float, float] | None = None
    dots: Sequence[Dot] = ()


@dataclass(frozen=True, kw_only=True)
class Rows(Words):
    """Values side by side on one axis, a row each, the first on top."""

    rows: Sequence[Row]
    mark: float | None = None
    """A line across all rows, such as at no difference."""
    bars: bool = False
    """Values as bars from 0, with their texts beside them."""

    @property
    def fitted(self) -> Axis:
        """The axis around all that is on it."""
        values = [dot.value for row in self.rows for dot in (row.main, *row.dots)]
        values += [end for row in self.rows for end in row.span or ()]
        return self.x.around(values if self.mark is None else [*values, self.mark])


@dataclass(frozen=True, kw_only=True)
class Cells(Words):
    """Values over two lists of names, as cells that are the darker the larger they are; the first row on top. x: what
    the names across are; y: those down."""

    y: Axis
    values: Sequence[Sequence[float]]
    """A row each; 0 is paper."""
    across: Sequence[str]
    down: Sequence[str]
    hue: int = 0

    @property
    def darkest(self) -> float:
        """The value of the full colour."""
        return max((value for row in self.values for value in row if math.isfinite(value)), default=0.0) or 1.0

    def shade(self, value: float) -> float:
        """How dark a cell is, from 0 to 1."""
        return min(max(value / self.darkest, 0.0), 1.0) if math.isfinite(value) else 0.0


Picture = Curves | Rows | Cells
