"""Small charts as PNG, drawn with Pillow: Matplotlib would take longer than the trial that a picture shows."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from PIL import Image, ImageColor, ImageDraw, ImageFont

WIDTH, HEIGHT = 640, 400
NAME = 240.0
"""Pixels of a name; a longer one is shortened."""
FINE = 2
"""Pixels drawn for each pixel kept: lines come out smooth."""
LEFT, TOP, RIGHT, BOTTOM = 66, 58, 24, 50
"""The margins around the frame."""
INK, FAINT, PAPER, GRID = "#2b2f36", "#8a8f98", "#ffffff", "#e4e7ec"
COLOURS = ("#636efa", "#ef553b", "#00a878", "#ab63fa", "#ff9f43", "#17becf", "#e45fb2", "#8c9a2b", "#b07d62", "#7f8fa6")
"""Of what stands side by side, readable on a light page and on a dark one."""
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One curve: its name in the legend, its points, its colour."""

    name: str
    points: Points
    colour: str


@dataclass(frozen=True)
class Row:
    """One name of a chart of rows: its value, the ends of its interval if it has one, and single results as dots."""

    name: str
    value: float
    interval: tuple[float, float] | None
    dots: Sequence[float]
    colour: str


@dataclass(frozen=True)
class Frame:
    """A part of a canvas with two axes: its edges in pixels, and the values at them, low before high."""

    left: float
    top: float
    right: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, float] = (0.0, 1.0)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where on the canvas a point lies."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top)

    def track(self, points: Points) -> Points:
        """Where a curve runs; what is not finite is left out."""
        return [self.place(x, y) for x, y in points if math.isfinite(y)]


class Canvas:
    """White paper of so many pixels. Lines and areas are drawn FINE times as large; texts come last, on top.

    letters: as many times as large are letters drawn: crisp with 1; with FINE, small ones are spaced more evenly.
    """

    def __init__(self, width: int, height: int, letters: int = 1) -> None:
        self._image = Image.new("RGB", (width * FINE, height * FINE), PAPER)
        self._letters = letters
        self._pen = ImageDraw.Draw(self._image)
        self._texts: list[tuple[tuple[float, float], str, int, str, str]] = []

    def stroke(self, track: Points, colour: str, width: int) -> None:
        if len(track) > 1:
            fine = [(x * FINE, y * FINE) for x, y in track]
            self._pen.line(fine, fill=colour, width=width * FINE, joint="curve")

    def dot(self, x: float, y: float, size: float, colour: str) -> None:
        box = [(x - size) * FINE, (y - size) * FINE, (x + size) * FINE, (y + size) * FINE]
        self._pen.ellipse(box, fill=colour)

    def cell(self, left: float, top: float, right: float, bottom: float, colour: tuple[int, int, int]) -> None:
        """A filled rectangle, without its right and lower edge: the next cell begins there."""
        self._pen.rectangle([left * FINE, top * FINE, right * FINE - 1, bottom * FINE - 1], fill=colour)

    def text(self, at: tuple[float, float], text: str, size: int, colour: str, anchor: str = "la") -> None:
        """anchor: which point of the text lies there, in Pillow's letters."""
        self._texts.append((at, text, size, colour, anchor))

    def image(self) -> Image.Image:
        """The picture in RGB."""
        image = self._image.reduce(FINE // self._letters)
        pen = ImageDraw.Draw(image)
        for (x, y), text, size, colour, anchor in self._texts:
            left, top, mask = _written(text, size * self._letters, anchor)
            pen.bitmap((round(x * self._letters) + left, round(y * self._letters) + top), mask, fill=colour)
        return image.reduce(self._letters)

    def png(self, colours: Iterable[str]) -> bytes:
        """colours: in which it is drawn, beside those of text and grid. It has their shades only, for a small file."""
        file = io.BytesIO()
        shades = _shades(frozenset((INK, FAINT, GRID, *colours)))
        self.image().quantize(palette=shades, dither=Image.Dither.NONE).save(file, "PNG", compress_level=3)
        return file.getvalue()


def draw(title: str, note: str, across: str, lines: Sequence[Line]) -> bytes:
    """Lines over a common axis, as PNG of WIDTH by HEIGHT.

    title: in bold ink on top. note: in small letters below it. across: what the horizontal axis counts.
    """
    points = [point for line in lines for point in line.points if math.isfinite(point[1])]
    x, y = _span([x for x, _ in points], pad=0), _span([y for _, y in points], pad=0.06)
    frame = Frame(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM, x, y)
    canvas = Canvas(WIDTH, HEIGHT)
    for tick in ticks(*y):
        _, down = frame.place(x[0], tick)
        canvas.stroke([(frame.left, down), (frame.right, down)], GRID, 1)
        canvas.text((frame.left - 8, down), f"{tick:g}", 12, FAINT, "rm")
    for tick in ticks(*x):
        right, _ = frame.place(tick, y[0])
        canvas.stroke([(right, frame.bottom), (right, frame.bottom + 4)], FAINT, 1)
        canvas.text((right, frame.bottom + 8), f"{tick:,.0f}" if tick == round(tick) else f"{tick:g}", 12, FAINT, "mt")
    canvas.stroke([(frame.left, frame.bottom), (frame.right, frame.bottom)], FAINT, 1)
    _head(canvas, LEFT, title, 17, note)
    canvas.text(((frame.left + frame.right) / 2, HEIGHT - 20), across, 12, FAINT, "mt")
    names = [shortened(line.name, NAME, _width) for line in lines]
    begin = frame.right - max([120.0, *map(_width, names)])
    for row, (line, name) in enumerate(zip(lines, names, strict=True)):
        track, middle = frame.track(line.points), frame.top + 10 + 18 * row
        canvas.stroke(track, line.colour, 2)
        for at in track if len(track) <= 40 else track[-1:]:
            canvas.dot(*at, 3, line.colour)
        canvas.stroke([(begin - 30, middle), (begin - 8, middle)], line.colour, 2)
        canvas.text((begin, middle), name, 12, INK, "lm")
    return canvas.png(line.colour for line in lines)


def draw_rows(title: str, note: str, across: str, rows: Sequence[Row]) -> bytes:
    """Values on one axis, a row each, as PNG of WIDTH and as high as it needs. title, note, across: as in `draw`."""
    names = [shortened(row.name, NAME, _width) for row in rows]
    left = LEFT + max(map(_width, names), default=0)
    ends = [end for row in rows for end in (row.value, *(row.interval or ()), *row.dots) if math.isfinite(end)]
    frame = Frame(left, TOP, WIDTH - RIGHT, TOP + 30 * max(len(rows), 1), _span(ends, pad=0.04))
    canvas = Canvas(WIDTH, round(frame.bottom) + BOTTOM)

    def at(value: float) -> float:
        return frame.place(value, 0)[0]

    for tick in ticks(*frame.x):
        canvas.stroke([(at(tick), TOP), (at(tick), frame.bottom)], GRID, 1)
        canvas.text((at(tick), frame.bottom + 8), f"{tick:g}", 12, FAINT, "mt")
    canvas.stroke([(left, frame.bottom), (frame.right, frame.bottom)], FAINT, 1)
    _head(canvas, 20, title, 15, note)
    canvas.text(((left + frame.right) / 2, frame.bottom + 28), across, 12, FAINT, "mt")
    for place, (row, name) in enumerate(zip(rows, names, strict=True)):
        middle = TOP + 30 * place + 15
        canvas.text((left - 12, middle), name, 12, INK, "rm")
        for dot in row.dots:
            canvas.dot(at(dot), middle, 2, row.colour)
        if row.interval:
            canvas.stroke([(at(end), middle) for end in row.interval], row.colour, 2)
            for end in row.interval:
                canvas.stroke([(at(end), middle - 5), (at(end), middle + 5)], row.colour, 2)
        canvas.dot(at(row.value), middle, 5, row.colour)
    return canvas.png(row.colour for row in rows)


def draw_cells(title: str, note: str, across: str, shades: Sequence[Sequence[float]], colour: str) -> bytes:
    """Cells from paper at 0 to the colour at 1, a row each, as PNG of WIDTH. title, note, across: as in `draw`."""
    rows, columns = max(len(shades), 1), max(map(len, shades), default=1)
    side = min(WIDTH - 2 * LEFT, 420) / columns
    right, foot = LEFT + side * columns, TOP + side * rows
    canvas = Canvas(WIDTH, round(foot) + BOTTOM)
    ink, paper = ImageColor.getrgb(colour)[:3], ImageColor.getrgb(PAPER)[:3]
    for row, values in enumerate(shades):
        for column, shade in enumerate(values):
            mixed = [round(p + (i - p) * shade) for i, p in zip(ink, paper, strict=True)]
            left, top = LEFT + side * column, TOP + side * row
            canvas.cell(left, top, left + side, top + side, (mixed[0], mixed[1], mixed[2]))
    canvas.stroke([(LEFT, TOP), (right, TOP), (right, foot), (LEFT, foot), (LEFT, TOP)], FAINT, 1)
    _head(canvas, LEFT, title, 17, note)
    canvas.text(((LEFT + right) / 2, foot + 10), across, 12, FAINT, "mt")
    return canvas.png([colour])


def _head(canvas: Canvas, left: float, title: str, size: int, note: str) -> None:
    """The words above a frame, as far as there is room for them."""
    most = WIDTH - left - 10
    canvas.text((left, 10), shortened(title, most, partial(_width, size=size)), size, INK)
    canvas.text((left, 33), shortened(note, most, _width), 12, FAINT)


@lru_cache(1024)
def _width(text: str, size: int = 12) -> float:
    """Pixels of a text."""
    return _font(size).getlength(text)


def shortened(text: str, most: float, width: Callable[[str], float]) -> str:
    """A text that is not wider than that: itself, or its two ends with … between them. width: how wide a text is."""
    if (needed := width(text)) <= most:
        return text
    short, kept = text, min(int(len(text) * most / needed) + 2, len(text))  # a guess that is rather too long
    while kept and width(short) > most:
        kept -= 1
        short = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
    return short


@lru_cache
def _shades(colours: frozenset[str]) -> Image.Image:
    """A palette of colours and of their mixtures with the paper at smooth edges, but none that passes for paper."""
    inks, paper = [ImageColor.getrgb(colour)[:3] for colour in sorted(colours)], ImageColor.getrgb(PAPER)[:3]
    steps = min(16, 255 // len(inks))
    mixtures = [
        [round(p + (i - p) * step / steps) for i, p in zip(ink, paper, strict=True)]
        for ink in inks
        for step in range(1, steps + 1)
    ]
    apart = [mixture for mixture in mixtures if min(mixture) < min(paper) - 16]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in (paper, *apart) for value in colour])
    return palette


def _span(values: Sequence[float], pad: float) -> tuple[float, float]:
    """The ends of an axis: of what there is, with some room; never of length 0."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) * pad
    return (low - room, high + room) if high > low else (low - 0.5, high + 0.5)


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round values between two ends, about so many: from two fewer to two more."""
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(step * (first + i), 12) for i in range(int((high - first * step) / step + 1e-9) + 1)]


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@lru_cache(maxsize=256)
def _written(text: str, size: int, anchor: str) -> tuple[int, int, Image.Image]:
    """A text as a mask, and where that lies beside the anchor. Axes of one study say the same in every picture."""
    left, top, right, bottom = _font(size).getbbox(text, anchor=anchor)
    left, top = math.floor(left), math.floor(top)
    mask = Image.new("L", (max(1, math.ceil(right) - left), max(1, math.ceil(bottom) - top)))
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=_font(size), anchor=anchor)
    return left, top, mask
