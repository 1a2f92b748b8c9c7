"""Writes variants.md, all about the softmax variants as they declare it, and a picture of each in images/variants.

.venv/bin/python docs/make_variants.py
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import torch

from tunemax.gpt.fields import shown
from tunemax.gpt.softmax import Variant
from tunemax.search.charts.picture import Axis, Curve, Curves, Point, Size
from tunemax.search.charts.svg import standalone
from tunemax.search.cli.variants import described, ordered, table
from tunemax.search.views.writers.markdown import rows

TARGET = Path(__file__).with_name("variants.md")
IMAGES = Path(__file__).parent / "images/variants"
KEYS, REACH, POINTS = 8, 6.0, 121
"""A picture shows the weight of one key with a logit between ±REACH, in a row of KEYS whose others have 1."""
HEAD = f"""# Softmax variants

<!-- Made by docs/make_variants.py from what the classes in gpt/softmax declare; a test holds the two equal. -->

A variant turns the logits x of one row of attention, x = QKᵀ/√d, into weights. Σ is the sum over the keys that the
row may attend to, n their number, max the largest of them. All other keys weigh exactly 0, in every variant, and no
weight depends on how far a batch is padded.

Choose one with `--softmax_variant NAME`, and set a parameter with `--NAME.PARAMETER VALUE`. Valid values, search
ranges and conditions are in [fields.md](fields.md). `tunemax variants` prints the table, `tunemax variants NAME` all
about one.

Variants of the **row** divide by a sum, or by what is found like one: a weight depends on the others. **Elementwise**
ones look at one logit at a time, which is why hardware likes them: no maximum, no sum.

**Work** is what a weight takes at the defaults, beside additions and products: exponentials (and logarithms),
divisions (and roots), reductions of its row, comparisons. What constants can be merged into is not counted. Sorting a
row of 64 counts as six comparisons.

**Learned** parameters are moved by SGD from the value given, in every layer by itself, without weight decay, at
`variant_lr_ratio` times the learning rate. In *log* and *softplus* form they cannot become negative. One that leaves
its valid range ends the training as diverged.

**Guard.** A formula that may grow without end has a guard: a weight is never above e^30 ≈ 10¹³ (in fp16: e^5 ≈ 148).
Above, the weight is constant and has no gradient. How often a guard acts is measured at every evaluation and shown in
TensorBoard as `guarded`, for each layer and head; it should be 0. Logits in half precision are computed in fp32 and
rounded at the end.

**Pictures** show the weight of a key with logit x at the defaults, in a row of {KEYS} keys whose others have a logit
of 1.
"""


def page() -> str:
    """The text of variants.md."""
    known = ordered()
    names = {variant.name: f"[`{variant.name}`](#{variant.name})" for variant in known}
    lines = [HEAD, *rows(table(known), lambda cell: names.get(cell, cell)), ""]
    for variant in known:
        lines += [*section(variant), ""]
    return "\n".join(lines[:-1])


def section(variant: type[Variant]) -> list[str]:
    """The lines about one."""
    lines = [f"## `{variant.name}`", "", f"![{variant.name}](images/variants/{variant.name}.svg)"]
    for paragraph in (*described(variant), f"Source: {variant.source}."):
        lines += ["", *textwrap.wrap(paragraph, 132, break_long_words=False, break_on_hyphens=False)]
    own = [(spec.name.removeprefix(f"{variant.name}."), spec) for spec in variant.specs()]
    parameters = [f"- `{name}` = {shown(spec.default)}: {spec.help}" for name, spec in own]
    return [*lines, *[""] * bool(parameters), *parameters]


def picture(variant: type[Variant]) -> str:
    """The SVG of one."""
    x = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
    logits = torch.ones(POINTS, KEYS, dtype=torch.float64)
    logits[:, 0] = x
    weights = variant().weights(logits, torch.ones(1, KEYS, dtype=torch.bool))[:, 0]
    points = [Point(*pair) for pair in zip(x.tolist(), weights.tolist(), strict=True)]
    label = f"Weight of a key by {variant.name}"
    # An axis fits itself to what lies right of 0, as a loss is looked at
    y = Axis("weight").around([point.y for point in points])
    x_axis = Axis("logit", ends=(-REACH, REACH))
    curves = Curves(label=label, x=x_axis, y=y, curves=[Curve("", 0, points)], size=Size(320, 170), names="")
    return standalone(curves) + "\n"


if __name__ == "__main__":
    TARGET.write_text(page())
    IMAGES.mkdir(exist_ok=True)
    for old in IMAGES.iterdir():
        old.unlink()
    for one in ordered():
        (IMAGES / f"{one.name}.svg").write_text(picture(one))
