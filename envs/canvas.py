"""Small charts as PNG, drawn with Pillow: for a picture beside every trial, Matplotlib would take longer than the
trial."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageColor, ImageDraw, ImageFont

WIDTH, HEIGHT = 640, 400
FINE = 2
"""Pixels drawn for each pixel kept: lines come out smooth."""
LEFT, TOP, RIGHT, BOTTOM = 66, 58, 24, 50
"""The margins around the frame."""
INK, FAINT, PAPER, GRID = "#2b2f36", "#8a8f98", "#ffffff", "#e4e7ec"
COLOURS = ("#636efa", "#ef553b", "#00a878", "#ab63fa", "#ff9f43", "#17becf", "#e45fb2", "#8c9a2b", "#b07d62", "#7f8fa6")
"""Of what stands side by side, readable on a light page and on a dark one."""


@dataclass(frozen=True)
class Line:
    """One curve: its name in the legend, its points, its colour."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str


@dataclass(frozen=True)
class Row:
    """One name of a chart of rows: its value, the ends of its interval if it has one, and single results as small
    dots."""

    name: str
    value: float
    interval: tuple[float, float] | None
    dots: Sequence[float]
    colour: str


def draw(title: str, note: str, across: str, lines: Sequence[Line]) -> bytes:
    """Lines over a common axis, as PNG of WIDTH by HEIGHT.

    title: in bold ink on top. note: in small letters below it. across: what the horizontal axis counts.
    """
    frame = (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    points = [point for line in lines for point in line.points if math.isfinite(point[1])]
    x_low, x_high = _span([x for x, _ in points], pad=0)
    y_low, y_high = _span([y for _, y in points], pad=0.06)

    def place(x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = frame
        return left + (x - x_low) / (x_high - x_low) * (right - left), bottom - (y - y_low) / (y_high - y_low) * (
            bottom - top
        )

    image = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), PAPER)
    pen = ImageDraw.Draw(image)
    for tick in ticks(y_low, y_high):
        _, y = place(x_low, tick)
        _stroke(pen, [(frame[0], y), (frame[2], y)], GRID, 1)
    for tick in ticks(x_low, x_high):
        x, _ = place(tick, y_low)
        _stroke(pen, [(x, frame[3]), (x, frame[3] + 4)], FAINT, 1)
    _stroke(pen, [(frame[0], frame[3]), (frame[2], frame[3])], FAINT, 1)
    legend = [frame[1] + 10 + 18 * row for row in range(len(lines))]
    for middle, line in zip(legend, lines, strict=True):
        track = [place(x, y) for x, y in line.points if math.isfinite(y)]
        _stroke(pen, track, line.colour, 2)
        for x, y in track if len(track) <= 40 else track[-1:]:
            _dot(pen, x, y, 3, line.colour)
        _stroke(pen, [(frame[2] - 150, middle), (frame[2] - 128, middle)], line.colour, 2)

    image = image.reduce(FINE)  # text is smooth without
    pen = ImageDraw.Draw(image)
    _text(pen, (LEFT, 10), title, 17, INK)
    _text(pen, (LEFT, 33), note, 12, FAINT)
    for tick in ticks(y_low, y_high):
        _text(pen, (frame[0] - 8, place(x_low, tick)[1]), f"{tick:g}", 12, FAINT, "rm")
    for tick in ticks(x_low, x_high):
        _text(pen, (place(tick, y_low)[0], frame[3] + 8), f"{tick:,.0f}", 12, FAINT, "mt")
    _text(pen, ((frame[0] + frame[2]) / 2, HEIGHT - 20), across, 12, FAINT, "mt")
    for middle, line in zip(legend, lines, strict=True):
        _text(pen, (frame[2] - 120, middle), line.name, 12, INK, "lm")
    return _png(image, [INK, FAINT, GRID, *(line.colour for line in lines)])


def draw_rows(title: str, note: str, across: str, rows: Sequence[Row]) -> bytes:
    """Values side by side on one axis, a row each, as PNG of WIDTH and as high as it needs. title, note, across: as in
    `draw`."""
    left = LEFT + 7 * max((len(row.name) for row in rows), default=0)
    right, bottom = WIDTH - RIGHT, TOP + 30 * max(len(rows), 1)
    ends = [end for row in rows for end in (row.value, *(row.interval or ()), *row.dots) if math.isfinite(end)]
    low, high = _span(ends, pad=0.04)

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    image = Image.new("RGB", (WIDTH * FINE, (bottom + BOTTOM) * FINE), PAPER)
    pen = ImageDraw.Draw(image)
    for tick in ticks(low, high):
        _stroke(pen, [(at(tick), TOP), (at(tick), bottom)], GRID, 1)
    _stroke(pen, [(left, bottom), (right, bottom)], FAINT, 1)
    middles = [TOP + 30 * place + 15 for place in range(len(rows))]
    for middle, row in zip(middles, rows, strict=True):
        for dot in row.dots:
            _dot(pen, at(dot), middle, 2, row.colour)
        if row.interval:
            _stroke(pen, [(at(end), middle) for end in row.interval], row.colour, 2)
            for end in row.interval:
                _stroke(pen, [(at(end), middle - 5), (at(end), middle + 5)], row.colour, 2)
        _dot(pen, at(row.value), middle, 5, row.colour)

    image = image.reduce(FINE)
    pen = ImageDraw.Draw(image)
    _text(pen, (20, 10), title, 15, INK)
    _text(pen, (20, 33), note, 12, FAINT)
    for middle, row in zip(middles, rows, strict=True):
        _text(pen, (left - 12, middle), row.name, 12, INK, "rm")
    for tick in ticks(low, high):
        _text(pen, (at(tick), bottom + 8), f"{tick:g}", 12, FAINT, "mt")
    _text(pen, ((left + right) / 2, bottom + 28), across, 12, FAINT, "mt")
    return _png(image, [INK, FAINT, GRID, *(row.colour for row in rows)])


def _png(image: Image.Image, colours: Iterable[str]) -> bytes:
    """colours: in which it is drawn. With their shades they are all that it has, and few colours make a small file."""
    file = io.BytesIO()
    image.quantize(palette=_shades(frozenset(colours)), dither=Image.Dither.NONE).save(file, "PNG", compress_level=3)
    return file.getvalue()


@lru_cache
def _shades(colours: frozenset[str]) -> Image.Image:
    """A palette of colours and of what smooth edges make of them: mixtures with the paper, but none that passes for
    paper."""
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


def _dot(pen: ImageDraw.ImageDraw, x: float, y: float, size: float, colour: str) -> None:
    pen.ellipse([(x - size) * FINE, (y - size) * FINE, (x + size) * FINE, (y + size) * FINE], fill=colour)


def _span(values: Sequence[float], pad: float) -> tuple[float, float]:
    """The ends of an axis: of what there is, with some room; never of length 0."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) * pad
    return (low - room, high + room) if high > low else (low - 0.5, high + 0.5)


def ticks(low: float, high: float) -> list[float]:
    """Four to eight round values between two ends."""
    rough = (high - low) / 6
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(step * (first + i), 12) for i in range(int((high - first * step) / step + 1e-9) + 1)]


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text(
    pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, colour: str, anchor: str = "la"
) -> None:
    left, top, mask = _written(text, size, anchor)
    pen.bitmap((round(at[0]) + left, round(at[1]) + top), mask, fill=colour)


@lru_cache(maxsize=256)
def _written(text: str, size: int, anchor: str) -> tuple[int, int, Image.Image]:
    """A text as a mask, and where that lies beside the anchor. Axes of one study say the same in every picture."""
    left, top, right, bottom = _font(size).getbbox(text, anchor=anchor)
    left, top = math.floor(left), math.floor(top)
    mask = Image.new("L", (max(1, math.ceil(right) - left), max(1, math.ceil(bottom) - top)))
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=_font(size), anchor=anchor)
    return left, top, mask


def _stroke(pen: ImageDraw.ImageDraw, track: Sequence[tuple[float, float]], colour: str, width: int) -> None:
    if len(track) > 1:
        pen.line([(x * FINE, y * FINE) for x, y in track], fill=colour, width=width * FINE, joint="curve")
