"""A small chart as SVG: it follows the page's colours, light or dark, needs no script, and prints.

Classes carry the colours: `ink`, `faint`, `grid` and `c0`, `c1`, … are defined by the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from tunemax.envs.canvas import ticks

HUES = 10
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, in values; what it counts is its title."""

    low: float
    high: float
    title: str = ""
    log: bool = False

    @classmethod
    def around(cls, values: Sequence[float], title: str = "", *, log: bool = False, pad: float = 0.05) -> Axis:
        """An axis that shows all finite values, with some room; never of length 0."""
        finite = [
            math.log(value) if log else value for value in values if math.isfinite(value) and (value > 0 or not log)
        ]
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        room = (high - low) * pad or (abs(low) * 0.01 or 0.5)
        low, high = low - room, high + room
        return cls(math.exp(low), math.exp(high), title, log) if log else cls(low, high, title)

    def place(self, value: float) -> float:
        """Where a value stands: 0 at the low end, 1 at the high one."""
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        if not self.log:
            return ticks(self.low, self.high)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        several = math.log10(self.high / self.low) > 2
        marks = [factor * 10.0**power for power in decades for factor in ((1,) if several else (1, 2, 5))]
        return [mark for mark in marks if self.low <= mark <= self.high]


@dataclass
class Plot:
    """A frame with two axes; what is drawn is added to `parts`. rows: names along y in place of numbers, the first on
    top."""

    width: int
    height: int
    x: Axis
    y: Axis
    rows: tuple[str, ...] = ()
    left: int = 64
    right: int = 16
    top: int = 14
    bottom: int = 44
    parts: list[str] = field(default_factory=list)

    @classmethod
    def of_rows(cls, width: int, x: Axis, rows: Sequence[str], *, named: bool = True) -> Plot:
        """One line a row, with room for the names."""
        left = 20 + round(7.6 * max(map(len, rows), default=0)) if named else 16
        return cls(width, 34 * len(rows) + 58, x, Axis(len(rows) - 0.5, -0.5), tuple(rows) if named else (), left=left)

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = self.left + self.x.place(x) * (self.width - self.left - self.right)
        down = self.height - self.bottom - self.y.place(y) * (self.height - self.top - self.bottom)
        return across, down

    def line(self, points: Points, hue: int, *, width: float = 2, faint: float = 1, dash: bool = False) -> None:
        shown = [self.at(x, y) for x, y in points if math.isfinite(y)]
        if len(shown) > 1:
            track = " ".join(f"{x:.1f},{y:.1f}" for x, y in shown)
            style = f'stroke-width="{width:g}" opacity="{faint:g}"' + (' stroke-dasharray="4 4"' if dash else "")
            self.parts.append(f'<polyline class="line c{hue % HUES}" points="{track}" {style}/>')

    def band(self, low: Points, high: Points, hue: int) -> None:
        around = [self.at(x, y) for x, y in [*low, *reversed(high)]]
        if len(around) > 2:
            track = " ".join(f"{x:.1f},{y:.1f}" for x, y in around)
            self.parts.append(f'<polygon class="area c{hue % HUES}" points="{track}" opacity="0.18"/>')

    def dot(
        self, x: float, y: float, hue: int, *, size: float = 4, hollow: bool = False, faint: float = 1, told: str = ""
    ) -> None:
        across, down = self.at(x, y)
        kind = "ring" if hollow else "area"
        title = f"<title>{escape(told)}</title>" if told else ""
        self.parts.append(
            f'<circle class="{kind} c{hue % HUES}" cx="{across:.1f}" cy="{down:.1f}" r="{size:g}"'
            f' opacity="{faint:g}">{title}</circle>'
        )

    def span(self, low: float, high: float, y: float, hue: int) -> None:
        """An interval as a bar with ends."""
        (a, down), (b, _) = self.at(low, y), self.at(high, y)
        ends = "".join(f"M{x:.1f},{down - 5:.1f}v10" for x in (a, b))
        self.parts.append(
            f'<path class="line c{hue % HUES}" stroke-width="2.5" d="M{a:.1f},{down:.1f}H{b:.1f}{ends}"/>'
        )

    def bar(self, high: float, y: float, hue: int) -> None:
        (a, down), (b, _) = self.at(max(self.x.low, 0), y), self.at(high, y)
        self.parts.append(
            f'<rect class="area c{hue % HUES}" x="{a:.1f}" y="{down - 8:.1f}"'
            f' width="{max(b - a, 0):.1f}" height="16" rx="2"/>'
        )

    def text(
        self, x: float, y: float, words: str, *, kind: str = "faint", anchor: str = "start", down: float = 4
    ) -> None:
        across, at = self.at(x, y)
        across += 5 if anchor == "start" else 0
        self.parts.append(
            f'<text class="{kind}" x="{across:.1f}" y="{at + down:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def upright(self, x: float) -> None:
        """A line across all rows, such as at no difference."""
        (across, top), (_, bottom) = self.at(x, self.y.high), self.at(x, self.y.low)
        self.parts.append(f'<path class="mark" d="M{across:.1f},{top:.1f}V{bottom:.1f}"/>')

    def svg(self, label: str) -> str:
        """The whole picture. label: for those who cannot see it."""
        behind = [*self._uprights(), *self._levels()]
        box = f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}"'
        return f'<svg {box} role="img" aria-label="{escape(label)}">{"".join([*behind, *self.parts])}</svg>'

    def _uprights(self) -> list[str]:
        foot = self.height - self.bottom
        drawn = [f'<path class="axis" d="M{self.left},{foot}H{self.width - self.right}"/>']
        for tick in self.x.ticks():
            across, _ = self.at(tick, self.y.low)
            drawn.append(f'<path class="grid" d="M{across:.1f},{self.top}V{foot}"/>')
            drawn.append(
                f'<text class="faint" x="{across:.1f}" y="{foot + 16}" text-anchor="middle">{_number(tick)}</text>'
            )
        middle = (self.left + self.width - self.right) / 2
        drawn.append(
            f'<text class="faint" x="{middle:.1f}" y="{self.height - 8}"'
            f' text-anchor="middle">{escape(self.x.title)}</text>'
        )
        return drawn

    def _levels(self) -> list[str]:
        if self.rows or self.y.low > self.y.high:
            return [
                f'<text class="ink" x="{self.left - 10}" y="{self.at(self.x.low, row)[1] + 4:.1f}"'
                f' text-anchor="end">{escape(name)}</text>'
                for row, name in enumerate(self.rows)
            ]
        drawn = []
        for tick in self.y.ticks():
            _, down = self.at(self.x.low, tick)
            drawn.append(f'<path class="grid" d="M{self.left},{down:.1f}H{self.width - self.right}"/>')
            drawn.append(
                f'<text class="faint" x="{self.left - 8}" y="{down + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
            )
        return drawn


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 and value == round(value) else f"{value:.6g}"
