"""Pictures of models side by side: curves of what was logged, what is known by position, calibration, entropy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.search.charts.picture import Axis, Curve, Curves, Look, Picture, Point
from tunemax.search.results.beside import Beside, Model, Side, by_position
from tunemax.search.results.history import SHORT, History

Across = Literal["step", "tokens", "flops", "seconds"]
ACROSS: dict[Across, str] = {
    "step": "iteration",
    "tokens": "tokens",
    "flops": "FLOPs",
    "seconds": "seconds of training",
}
"""What curves may lie over, and the title of that axis."""
STEEP = 0.1
"""Of curves of a loss that are not trimmed: what lies before may be above the frame."""
UNITS = {"loss/train": "nats a token", "loss/validation": "nats a token", "loss/bits_per_byte": "bits"}
LOSS = Axis("loss", "nats a token")


@dataclass(frozen=True)
class Shown:
    """How curves are drawn. across: what they lie over. log: of x, y, both or none of them the logarithm. begin, end:
    what is shown of x, in its unit."""

    across: Across = "step"
    log: Literal["", "x", "y", "xy"] = ""
    begin: float | None = None
    end: float | None = None

    @property
    def trimmed(self) -> bool:
        return self.begin is not None or self.end is not None


def drawn(found: Beside, quantities: Sequence[str] = (), shown: Shown | None = None) -> dict[str, Picture]:
    """All pictures by name: `curves-…` of each quantity, `loss-by-position` and so on.

    quantities: to draw; by default the validation loss, of what has logged it. Raises TunemaxError for one that nobody
    has logged, and for a side that has no curves, or none over what is asked for.
    """
    shown = shown or Shown()
    chosen = [(name, logged(found, name, shown, asked=bool(quantities))) for name in quantities or ["loss/validation"]]
    pictures: dict[str, Picture] = {f"curves-{name.replace('/', '-')}": picture for name, picture in chosen}
    if found.alike:
        pictures["loss-by-position"] = positions(found)
        pictures |= {f"top-{k}-by-position": positions(found, k) for k in sorted({1, found.asked.k})}
        pictures["calibration"] = calibration(found)
    pictures["entropy"] = entropy(found)
    return {name: picture for name, picture in pictures.items() if isinstance(picture, Curves) and picture.curves}


def logged(found: Beside, quantity: str, shown: Shown, *, asked: bool) -> Curves:
    """A quantity as each training has logged it; of several seeds the first bold. asked: whether somebody wants it."""
    if asked:
        _check(found, quantity)
    curves = []
    for hue, side in enumerate(found.sides):
        pairs = list(zip(side.models, side.histories, strict=True))
        for place, (model, history) in reversed(list(enumerate(pairs))):
            if points := _points(side, model, history, quantity, shown):
                look: Look = "bold" if place == 0 else "thin"
                result = points[-1].y if place == 0 else None
                curves.append(Curve(side.name, hue, points, look, model.name, result=result))
    full = next((name for side in found.sides for each in side.histories if (name := each.called(quantity))), quantity)
    steep = 0.0 if shown.trimmed or shown.log or not full.startswith("loss/") else STEEP
    across = ACROSS[shown.across]
    # The bold ones lie on top, and the first of them above all
    curves.sort(key=lambda curve: (curve.look == "bold", -(curve.hue or 0)))
    return Curves(
        title=full,
        note="one run each; of several seeds the first bold",
        still=(full, f"over {across}, as logged"),
        label=f"{titled(full)} over {across}, as each training has logged it.",
        x=Axis(across, log="x" in shown.log, ends=_ends(curves, shown)),
        y=Axis(full, UNITS.get(full, ""), log="y" in shown.log, digits=".4g"),
        curves=curves,
        steep=steep,
    )


def titled(quantity: str) -> str:
    """With its unit, where it has one."""
    return Axis(quantity, UNITS.get(quantity, "")).title


def _ends(curves: Sequence[Curve], shown: Shown) -> tuple[float, float] | None:
    """Of the axis across; None leaves it to what is drawn."""
    last = max((curve.points[-1].x for curve in curves), default=1.0)
    if "x" in shown.log:
        return None
    begin, end = shown.begin or 0.0, last if shown.end is None else shown.end
    return (begin, end) if begin < end else None


def _points(side: Side, model: Model, history: History, quantity: str, shown: Shown) -> list[Point]:
    name = history.called(quantity)
    if name is None:
        return []
    points = []
    for iteration, value in history.values[name].items():
        x = _across(model, history, iteration, shown.across)
        if x is None or (shown.begin is not None and x < shown.begin) or (shown.end is not None and x > shown.end):
            continue
        if ("x" in shown.log and x <= 0) or ("y" in shown.log and value <= 0):
            continue
        points.append(Point(x, value))
    return points


def _across(model: Model, history: History, iteration: int, across: Across) -> float | None:
    """Where an iteration lies; None where that is not known."""
    if across == "step":
        return float(iteration)
    if across == "seconds":
        return 0.0 if iteration == 0 else history.seconds.get(iteration)
    each = model.tokens if across == "tokens" else model.flops
    return iteration * each / model.iteration if model.iteration else None


def _check(found: Beside, quantity: str) -> None:
    """Raise TunemaxError unless each side has curves, and one of them this one."""
    for side in found.sides:
        if not any(side.histories):
            raise TunemaxError(
                f"{side.name}: has no curves: nothing that its training has logged is here; leave it out"
            )
    every = {name for side in found.sides for history in side.histories for name in history.values}
    if not any(history.called(quantity) for side in found.sides for history in side.histories):
        raise TunemaxError(f"{quantity}: none of them has logged it{did_you_mean(quantity, every | SHORT.keys())}")


def positions(found: Beside, k: int | None = None) -> Curves:
    """What is known of a token with so many in front of it: its loss, or how often it is among the k likeliest."""
    curves = []
    for hue, side in enumerate(found.sides):
        groups = by_position(side.first, k or 1)
        points = [Point((low * high) ** 0.5, right if k else loss) for low, high, loss, right in groups]
        curves.append(Curve(side.name, hue, points, "plain", side.first.name, result=points[-1].y))
    what = f"Top-{k} accuracy" if k else "Loss"
    return Curves(
        title=f"{what} by position",
        note="told the text in front",
        still=(f"{what} by position", f"the same windows of the {found.asked.part} slice, told the text in front"),
        label=f"{what} by how many tokens stand in front; the same windows for all.",
        x=Axis("tokens in front", log=True),
        y=Axis("accuracy", digits=".3f") if k else LOSS,
        curves=curves,
        names="ends",
    )


def calibration(found: Beside) -> Curves:
    """How often a guess is right, by how sure a model is of it."""
    curves = [Curve("as it should be", None, [Point(0, 0), Point(1, 1)], "thin", aside=False)]
    for hue, side in enumerate(found.sides):
        points = [Point(each.confidence, each.accuracy) for each in side.first.read.bins()]
        error = side.first.read.calibration_error()
        curves.append(Curve(side.name, hue, points, "plain", side.first.name, result=error))
    return Curves(
        title="Calibration",
        note="how often a guess is right, by how sure it is",
        still=("Calibration", "how often a guess is right, by how sure it is; beside the names: the error"),
        label="How often the likeliest token is right, by how likely it is held; on the grey line a model is as sure "
        "as it is right. Beside the names: the expected calibration error.",
        x=Axis("confidence", ends=(0, 1)),
        y=Axis("accuracy", ends=(0, 1), digits=".3f"),
        curves=curves,
        names="list",
    )


def entropy(found: Beside) -> Curves:
    """Of attention, by layer."""
    curves = []
    for hue, side in enumerate(found.sides):
        points = [
            Point(layer, value, text=f"layer {layer}: {value:.3f}") for layer, value in enumerate(side.first.entropy)
        ]
        curves.append(Curve(side.name, hue, points, "plain", side.first.name, result=side.first.entropy[-1]))
    deepest = max(len(side.first.entropy) for side in found.sides)
    keys = found.first.first.keys
    return Curves(
        title="Attention entropy",
        note=f"mean over queries and heads; up to {keys} keys",
        still=("Attention entropy by layer", f"mean over the queries of windows of {keys} tokens, and over heads"),
        label=f"Entropy of attention by layer: mean over the queries of windows of {keys} tokens, and over heads.",
        x=Axis("layer", ends=(-0.2, max(deepest - 0.8, 0.2))),
        y=Axis("entropy", "nats", digits=".3f"),
        curves=curves,
        names="list",
    )
