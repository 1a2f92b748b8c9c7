"""A training as one picture, or as one line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tunemax.envs.canvas import FAINT, FINE, GRID, INK, Canvas, Frame, Line, ticks
from tunemax.envs.instances import Instance
from tunemax.envs.steering import Episode, Steering
from tunemax.envs.task import Task
from tunemax.gpt.fields import shown

WIDTH, HEIGHT, TITLE = 720, 480, 28
COLOURS = ("#2563c9", "#d9480f", "#2b8a3e", "#9c36b5", "#0b7285", "#c2255c", "#5c940d", "#862e9c")
GREY = "#aab0b8"
COLD, WARM = np.array([37.0, 99, 201]), np.array([217.0, 72, 15])


def status(episode: Episode) -> str:
    """Where a training stands, in one line."""
    now, instance = episode.history[-1], episode.instance
    controls = "  ".join(f"{name} {value:.4g}" for name, value in now.controls.items())
    end = "  diverged" if episode.diverged else "  finished" if episode.ended else ""
    tested = "" if episode.test_loss is None else f"  test {episode.test_loss:.4f}"
    return f"{instance.name}  {episode.iteration}/{instance.horizon}  loss {episode.loss:.4f}  {controls}{end}{tested}"


def frame(task: Task, episode: Episode) -> npt.NDArray[np.uint8]:
    """The training so far, (HEIGHT, WIDTH, 3): loss beside the reference, controls, gradient norm, β and ln γ."""
    canvas = Canvas(WIDTH, HEIGHT, letters=FINE)
    left, right, middle = (0, WIDTH // 2), (WIDTH // 2, WIDTH), (TITLE + HEIGHT) // 2
    upper, lower = (TITLE, middle), (middle, HEIGHT)
    horizon, past = episode.instance.horizon, episode.history
    steered = Line("steered", [(p.iteration, p.loss) for p in past], COLOURS[0])
    losses = [Line("left alone", reference(task, episode.instance, episode.iteration), GREY), steered]
    places = [
        Line(
            f"{dial.name} {past[-1].controls[dial.name]:.3g}",
            [(p.iteration, dial.unit(p.controls[dial.name])) for p in past],
            colour,
        )
        for dial, colour in zip(task.dials, COLOURS, strict=False)
    ]
    norms = [Line("", [(p.iteration, math.log10(p.grad_norm)) for p in past if 0 < p.grad_norm < math.inf], COLOURS[0])]
    _plot(canvas, left, upper, "validation loss", losses, horizon)
    _plot(canvas, right, upper, "controls, -1 and 1 being their bounds", places, horizon, legend_above=True)
    _plot(canvas, left, lower, "log10 of the gradient norm", norms, horizon)
    _heat(canvas, right, lower, episode)
    end = "diverged" if episode.diverged else f"loss {episode.loss:.4f}"
    canvas.text((12, 7), f"{episode.instance.name}   {episode.iteration:,} of {horizon:,} iterations   {end}", 13, INK)
    return np.asarray(canvas.image(), dtype=np.uint8).copy()


def reference(task: Task, instance: Instance, until: int | None = None) -> list[tuple[float, float]]:
    """Iterations and losses of an instance left alone, to an iteration or its end; trained once a process, so far."""
    steering = _reference(_Asked(task, instance))
    if not steering.begun(0):
        steering.start({0: instance})
    rest = [0.0] * len(task.dials)
    if task.action == "absolute":
        rest = [dial.unit(steering.episode().history[0].controls[dial.name]) for dial in task.dials]
    while steering.running(0) and (until is None or steering.episode().iteration < until):
        steering.advance({0: rest})
    history = steering.episode().history
    return [(past.iteration, past.loss) for past in history if until is None or past.iteration <= until]


class _Asked:
    """A task and an instance as a key: both hold mappings, and equal ones are written the same."""

    def __init__(self, task: Task, instance: Instance) -> None:
        self.task = task
        self.text = repr((task, instance))

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self.text == other.text


@lru_cache(maxsize=16)
def _reference(asked: _Asked) -> Steering:
    return Steering(asked.task)


def _plot(
    canvas: Canvas,
    across: tuple[int, int],
    down: tuple[int, int],
    title: str,
    lines: Sequence[Line],
    horizon: int,
    legend_above: bool = False,
) -> None:
    """Curves over the horizon in one quarter of the picture; their names in its upper right corner, or above them."""
    x0, x1, y0, y1 = across[0] + 44, across[1] - 14, down[0] + 22, down[1] - 22
    values = [y for line in lines for _, y in line.points if math.isfinite(y)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.5
    low, high = low - room, high + room
    if legend_above:
        high += (high - low) * 13 * len(lines) / (y1 - y0 - 13 * len(lines))
    frame = Frame(x0, y0, x1, y1, (0, horizon), (low, high))
    for tick in ticks(low, high, about=4):
        y = frame.place(0, tick)[1]
        canvas.stroke([(x0, y), (x1, y)], GRID, 1)
        canvas.text((x0 - 5, y), f"{tick:g}", 10, FAINT, "rm")
    canvas.stroke([(x0, y1), (x1, y1)], FAINT, 1)
    for end in (0, horizon):
        canvas.text((frame.place(end, low)[0], y1 + 4), f"{end:,}", 10, FAINT, "mt")
    canvas.text((x0, down[0] + 4), title, 12, INK)
    for row, line in enumerate(lines):
        track = frame.track(line.points)
        canvas.stroke(track, line.colour, 2)
        for at in track[-1:]:
            canvas.dot(*at, 3, line.colour)
        if line.name:
            canvas.text((x1, y0 + 2 + 13 * row), line.name, 11, line.colour, "rt")


def _heat(canvas: Canvas, across: tuple[int, int], down: tuple[int, int], episode: Episode) -> None:
    """β and ln γ, a row of cells each layer (or head) and a column each step, from the least in blue to orange."""
    x0, x1, y0, y1 = across[0] + 44, across[1] - 14, down[0] + 22, down[1] - 22
    past = episode.history
    canvas.text((x0, down[0] + 4), "beta and ln gamma, by layer", 12, INK)
    if not past[0].beta:
        canvas.text(((x0 + x1) / 2, (y0 + y1) / 2), "this variant has neither", 12, FAINT, "mm")
        return
    half = (y1 - y0 - 14) / 2
    for part, (name, rows) in enumerate((("beta", [p.beta for p in past]), ("ln gamma", [p.log_gamma for p in past]))):
        cells = np.array(rows).T  # (layers, looks)
        known = cells[np.isfinite(cells)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        top = y0 + part * (half + 14)
        steps = max(len(past), 2) if episode.ended else _looks(episode)
        for layer, column in np.ndindex(cells.shape):
            share = (cells[layer, column] - low) / (high - low) if high > low else 0.5
            colour = COLD + (WARM - COLD) * float(np.clip(np.nan_to_num(share), 0, 1))
            a, b = x0 + column / steps * (x1 - x0), x0 + (column + 1) / steps * (x1 - x0)
            c, d = top + layer / len(cells) * half, top + (layer + 1) / len(cells) * half
            canvas.cell(a, c, b, d, (int(colour[0]), int(colour[1]), int(colour[2])))
        canvas.text((x0, top + half + 2), name, 10, INK)
        canvas.text((x1, top + half + 2), f"{shown(round(low, 3))} to {shown(round(high, 3))}", 10, FAINT, "rt")


def _looks(episode: Episode) -> int:
    """How many looks a training gives from start to horizon, as far as it has shown how long a step is."""
    past = episode.history
    return max(2, 1 + episode.instance.horizon // past[1].iteration if len(past) > 1 else 21)
