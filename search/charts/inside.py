"""Pictures of the inside of a model: maps of attention, learnables as they moved, the weight of a key by its logit."""

from __future__ import annotations

from collections.abc import Iterator

from tunemax.gpt.probe import STANDS_FOR
from tunemax.search.charts.picture import Axis, Cells, Curve, Curves, Look, Picture, Point, Size
from tunemax.search.charts.pictures import TRUE
from tunemax.search.results.browsed import KEYS, LOGITS, Browsed, Moment

MAP = Size(width=320)
SMALL = Size(width=340, height=220)


def attention(moment: Moment) -> Iterator[Cells]:
    """A map of each head, layer by layer: what each token, down, takes from those before it and itself, across."""
    for layer, heads in enumerate(moment.attention.tolist()):
        for head, values in enumerate(heads):
            largest = max(max(row) for row in values)
            yield Cells(
                title=f"layer {layer}, head {head}",
                still=(f"layer {layer}, head {head}", f"at iteration {moment.iteration:,}; darkest: {largest:.3g}"),
                label=f"Layer {layer}, head {head}; the darkest cell is a weight of {largest:.3g}.",
                x=Axis("looked at"),
                y=Axis("looks"),
                values=values,
                across=moment.tokens,
                down=moment.tokens,
                hue=layer,
                size=MAP,
            )


def learnables(browsed: Browsed) -> Iterator[Curves]:
    """Each learnable over the training, a curve a layer; dashed what it stands for, where that was logged."""
    for name in browsed.config.softmax.learned():
        true = STANDS_FOR.get(name, "")
        looks: dict[str, Look] = {name: "plain", true: "dashed"}
        curves = [
            Curve(f"layer {layer}", layer, [Point(at, value) for at, value in values.items()], look, of=of)
            for of, look in looks.items()
            for layer, values in browsed.learnables.get(of, {}).items()
        ]
        if not curves:
            continue
        dashed = f" Dashed: the {TRUE[true]} that it stands for." if true in browsed.learnables else ""
        yield Curves(
            title=name,
            still=(f"{name} of {browsed.name}", "each layer, means over heads"),
            label=f"{name} of each layer over iterations, means over heads.{dashed}",
            x=Axis("iteration", ends=(0, max(curve.points[-1].x for curve in curves) or 1)),
            y=Axis(name, log=None, digits=".4g"),
            curves=curves,
            size=SMALL,
        )


def weights(browsed: Browsed) -> Iterator[Curves]:
    """The weight of a key by its logit, of each layer, at moments of the training."""
    layers = max((len(of_layers) for of_layers in browsed.weights.values()), default=0)
    for layer in range(layers):
        curves = [
            Curve(
                f"at {at:,}" if len(browsed.weights) > 1 else "always",
                hue,
                [Point(x, weight) for x, weight in zip(LOGITS, of_layers[layer], strict=True)],
            )
            for hue, (at, of_layers) in enumerate(browsed.weights.items())
        ]
        whose = f"layer {layer}" if layers > 1 else "every layer"
        yield Curves(
            title=f"{browsed.config.softmax.name}, {whose}",
            still=(f"{browsed.config.softmax.name}, {whose}", f"of {browsed.name}, by the key's logit"),
            label=f"Weight of a key by its logit, {whose}: {KEYS - 1} others have logit 0.",
            x=Axis("logit"),
            y=Axis("weight", digits=".3g"),
            curves=curves,
            size=SMALL,
        )


def inside(browsed: Browsed) -> dict[str, Picture]:
    """All of them by name."""
    found: dict[str, Picture] = {}
    for moment in browsed.moments:
        for picture in attention(moment):
            found[f"attention-{moment.iteration}-{picture.title.replace(', ', '-').replace(' ', '')}"] = picture
    found |= {f"learnable-{picture.title}": picture for picture in learnables(browsed)}
    return found | {f"weight-layer{layer}": picture for layer, picture in enumerate(weights(browsed))}
