"""Models side by side, as they are read: their tables and sentences, on a terminal, on a page, as plain values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tunemax.search.charts.models import drawn
from tunemax.search.charts.picture import Curves, Picture
from tunemax.search.question.counting import counted
from tunemax.search.results.beside import Beside, Model, Side, by_position
from tunemax.search.results.disagreement import Disagreement, Example
from tunemax.search.results.paired import Paired
from tunemax.search.results.signed_rank import LEAST
from tunemax.search.results.statistics import estimate, finite, signed
from tunemax.search.views import rounding
from tunemax.search.views.document import Column, Section, Table, tabulated
from tunemax.search.views.words import sparkline
from tunemax.search.views.writers.terminal import aligned, room, wrapped

WIDE = 24
"""Characters of a curve on a terminal."""


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _mean(value: Callable[[Model], float], rounded: Callable[[float], str]) -> Callable[[Side], str]:
    """Of all seeds, with half of the 95 % interval if there are several."""

    def told(side: Side) -> str:
        values = [value(model) for model in side.models]
        over = estimate(values)
        if over is None:
            return rounded(values[0])
        half = rounded(max(over.high - over.mean, over.mean - over.low))
        return f"{rounded(over.mean).removesuffix(' %')} ±{half}"

    return told


def measured(found: Beside) -> Table[Side]:
    """What each of them is, and what it expects of the text."""
    k = found.asked.k
    columns: list[Column[Side]] = [
        Column("model", lambda side: side.name, words=True),
        Column("parameters", lambda side: side.first.parameters, rounding.count),
        Column("FLOPs", lambda side: side.first.flops, rounding.many, "flops"),
        Column("tokens", lambda side: side.first.tokens, rounding.many),
    ]
    if any(len(side.models) > 1 for side in found.sides):
        columns.append(Column("seeds", lambda side: len(side.models), rounding.count))
    if found.alike:
        columns.append(Column("loss", _mean(lambda model: model.read.loss, rounding.loss)))
    columns.append(Column("bits/byte", _mean(lambda model: model.bits_a_byte, rounding.loss)))
    if found.alike:
        columns.append(Column("top-1", _mean(lambda model: model.read.accuracy(1), _percent)))
        if k > 1:
            columns.append(Column(f"top-{k}", _mean(lambda model: model.read.accuracy(k), _percent)))
        columns.append(Column("ECE", _mean(lambda model: model.read.calibration_error(), _percent)))
    columns += [
        Column("reads/s", lambda side: side.first.read.tokens_per_s, rounding.many, "tokens_per_s_read"),
        Column("writes/s", lambda side: _known(side.tokens_per_s), rounding.many, "tokens_per_s_written"),
        Column("guarded", _mean(lambda model: model.guarded, _percent)),
    ]
    return Table(tuple(columns), found.sides)


def explained(found: Beside) -> str:
    """What the table is of."""
    several = any(len(side.models) > 1 for side in found.sides)
    tokens = len(found.first.first.read.losses)
    what = f"{found.bytes:,} bytes of the {found.asked.part} slice of {found.text.name}"
    same = f", the same {tokens:,} targets for all" if found.alike else ", the same text for all"
    mean = " Of several seeds: their mean ± half of its 95 % interval." if several else ""
    told = (
        ", told the text in front of each. Loss: nats a token. ECE: expected calibration error." if found.alike else ""
    )
    other = "" if found.alike else ". Their tokens differ, so that only bits a byte can be compared."
    rest = "Reads/s, writes/s: tokens a second, here and now. Guarded: attention entries at which a guard acts."
    return f"Read: {what}{same}{told}{other} {rest}{mean}"


def claim(found: Beside) -> list[str]:
    """What the difference is worth."""
    if found.paired:
        told = [each.claim for each in found.paired if each.claim]
        return [f"On the confirmation's own text: {sentence}" for sentence in told]
    return ["One run each: this says which of these models is ahead on this text, not which settings are."]


def pairs(each: Paired) -> Table[Sequence[Any]]:
    """Differences seed by seed."""
    rows = []
    for name, (one, two) in each.means.items():
        typical = each.differences[name]
        share = name not in ("loss", "bits a byte")
        factor, digits = (100, 2) if share else (1, 4)
        interval = (
            f"{signed(factor * typical.low, digits)} … {signed(factor * typical.high, digits)}"
            if math.isfinite(typical.low)
            else rounding.FEW
        )
        unit = " %" if share else ""
        cells = (f"{factor * value:.{digits}f}{unit}" for value in (one, two))
        rows.append((name, *cells, f"{signed(factor * typical.value, digits)}{unit}", interval))
    return tabulated(("", each.first, each.second, "difference", "95 % interval"), rows)


def paired_words(each: Paired) -> str:
    few = f" An interval takes {LEAST} seeds." if len(each.seeds) < LEAST else ""
    return (
        f"{each.second} less {each.first}, seed by seed, over {counted(len(each.seeds), 'seed')}: means, the typical "
        f"difference and its exact interval, each by itself.{few}"
    )


def placed(found: Beside) -> Table[Sequence[Any]]:
    """Loss and accuracy by position, of the first seed of each."""
    rows, heads = [], dict[str, None]()
    cells = dict[tuple[str, str], dict[str, str]]()
    for what, at in (("loss", 2), ("top-1", 3)):
        for side in found.sides:
            own = cells.setdefault((side.name, what), {})
            for group in by_position(side.first):
                low, high = group[:2]
                head = str(low) if low == high else f"{low}–{high}"
                heads[head] = None
                own[head] = f"{group[at]:.3f}" if what == "loss" else f"{100 * group[at]:.0f} %"
    order = sorted(heads, key=lambda head: (int(head.partition("–")[0]), int(head.rpartition("–")[2])))
    for (name, what), own in cells.items():
        rows.append((f"{what}, {name}", *(own.get(head, rounding.NONE) for head in order)))
    return tabulated(("tokens in front", *order), rows)


def agreement(found: Beside) -> Table[Sequence[Any]]:
    """How often the first and each other one are right."""
    rows = [
        (side.name, *map(_percent, (each.both, each.first, each.second, each.neither)))
        for side, each in zip(found.sides[1:], found.disagreements, strict=True)
    ]
    return tabulated((f"{found.first.name} and", "both right", "only the first", "only this", "neither"), rows)


def examples(found: Beside, side: Side, each: Disagreement) -> Iterator[tuple[str, Table[Sequence[Any]]]]:
    """A heading and a table: tokens that only the first knows, then those that only the other does."""
    names = (found.first.name, side.name)
    for which, shown in enumerate(each.examples):
        if shown:
            other = names[1 - which]
            heads = ("behind", "stands", f"{other} expects", "losses")
            yield (
                f"Only {names[which]} knows, and {other} least:",
                tabulated(heads, [_example(example, 1 - which) for example in shown], words=heads),
            )


def _example(example: Example, other: int) -> tuple[str, str, str, str]:
    losses = " and ".join(f"{loss:.2f}" for loss in example.losses)
    return (f"…{_seen(example.before)}", _seen(example.token), _seen(example.guesses[other]), losses)


def _seen(text: str) -> str:
    """Text in one line, with marks for what nobody sees."""
    return (
        text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣") if text.strip() == "" else text.replace("\n", "⏎")
    )


def by_layer(found: Beside) -> Table[Sequence[Any]]:
    """Attention entropy and learnables, a row each."""
    deepest = max(len(side.first.entropy) for side in found.sides)
    rows = []
    for side in found.sides:
        own = {"entropy": side.first.entropy, **side.first.learnables}
        for name, values in own.items():
            cells = [f"{value:.3f}" if name == "entropy" else f"{value:.4g}" for value in values]
            rows.append((f"{name}, {side.name}", *cells, *[rounding.NONE] * (deepest - len(cells))))
    return tabulated(("layer", *map(str, range(deepest))), rows)


def layer_words(found: Beside) -> str:
    learnt = dict.fromkeys(name for side in found.sides for name in side.first.learnables)
    beside = ""
    if learnt:
        beside = " Learnables, and as row_max and denominator what β and γ stand for, as measured: means over heads."
    keys = found.first.first.keys
    return (
        f"Entropy of attention in nats: mean over heads and over the queries of windows of {keys} tokens, of at most "
        f"ln {keys} = {math.log(keys):.2f}.{beside}"
    )


def written(found: Beside) -> list[tuple[str, list[str]]]:
    """Of each prompt, what each of them goes on with."""
    return [
        (prompt, [f"{side.name}: {prompt}{side.texts[place]}" for side in found.sides])
        for place, prompt in enumerate(found.prompts)
    ]


# ---- a terminal ------------------------------------------------------------------------------------------------------


def answer(found: Beside, pictures: Mapping[str, Picture]) -> str:
    """Everything, as a terminal shows it."""
    parts = [[*aligned(measured(found)), "", *wrapped(explained(found), *found.notes, *claim(found))]]
    parts += [[*aligned(pairs(each)), "", *wrapped(paired_words(each))] for each in found.paired if each.means]
    parts += [_lines(picture) for name, picture in pictures.items() if name.startswith("curves-")]
    if found.alike:
        parts.append([*aligned(placed(found)), "", *wrapped(POSITIONS)])
        parts.append(aligned(agreement(found)))
        for side, each in zip(found.sides[1:], found.disagreements, strict=True):
            parts += [[heading, *_listed(table)] for heading, table in examples(found, side, each)]
    parts.append([*aligned(by_layer(found)), "", *wrapped(layer_words(found))])
    for _, texts in written(found):
        parts.append([line for each in texts for line in ("----", *each.split("\n"))])
    return "\n\n".join("\n".join(part) for part in parts)


POSITIONS = (
    "Tokens in front: how many of the text a model saw before a target, in windows that begin at the same places."
)


def _lines(picture: Picture) -> list[str]:
    """Curves in a line each: a sketch and where they end."""
    assert isinstance(picture, Curves)
    bold = [curve for curve in picture.curves if curve.look == "bold"]
    widest = max(len(curve.name) for curve in bold)
    lines = [f"{picture.y.title} by {picture.x.title}"]
    for curve in sorted(bold, key=lambda curve: curve.hue or 0):
        sketch = sparkline([point.y for point in curve.points], int(min(WIDE, room() - widest - 12)))
        lines.append(f"{curve.name:{widest}}  {sketch}  {curve.points[-1].y:{picture.y.digits}}")
    return lines


def _listed(table: Table[Sequence[Any]]) -> list[str]:
    """Rows of words, each on lines of its own where a terminal has no room for them side by side."""
    lines = []
    for behind, stands, expected, losses in table.rows:
        lines += wrapped(f"  {behind}[{stands}]  expected [{expected}], losses {losses}")
    return lines


# ---- a page ----------------------------------------------------------------------------------------------------------


def sections(found: Beside, pictures: Mapping[str, Picture]) -> list[Section]:
    """Everything, as a page shows it."""
    curves = tuple(picture for name, picture in pictures.items() if name.startswith("curves-"))
    parts = [
        Section(
            "Side by side",
            sentences=(*claim(found), *found.notes),
            tables=(measured(found),),
            notes=(explained(found),),
        ),
        *(Section("Pairs", tables=(pairs(each),), notes=(paired_words(each),)) for each in found.paired if each.means),
        Section("Curves", figures=curves),
    ]
    if found.alike:
        figures = tuple(picture for name, picture in pictures.items() if name.endswith("-by-position"))
        parts.append(Section("By position", tables=(placed(found),), notes=(POSITIONS,), figures=figures))
        parts.append(Section("Calibration", figures=(pictures["calibration"],)))
        parts.append(Section("Where they disagree", tables=(agreement(found),)))
        for side, each in zip(found.sides[1:], found.disagreements, strict=True):
            parts += [Section(heading, tables=(table,)) for heading, table in examples(found, side, each)]
    parts.append(
        Section("By layer", tables=(by_layer(found),), notes=(layer_words(found),), figures=(pictures["entropy"],))
    )
    for prompt, texts in written(found):
        parts.append(Section(f"Behind {_seen(prompt)!r}", code=tuple(texts)))
    return [part for part in parts if part.says_something]


# ---- plain values ----------------------------------------------------------------------------------------------------


def to_json(found: Beside) -> dict[str, Any]:
    """All of it but the curves; what is not finite is None."""
    asked = {name: value for name, value in asdict(found.asked).items() if name != "prompts"}
    told: dict[str, Any] = finite(
        {
            "asked": asked | {"prompts": list(found.prompts), "bytes": found.bytes},
            "text": {"name": found.text.name, "part": found.text.part, "same_tokens": found.alike},
            "sides": [_side(found, side) for side in found.sides],
            "disagreements": [
                {"first": found.first.name, "other": side.name, **asdict(each)}
                for side, each in zip(found.sides[1:], found.disagreements, strict=False)
            ],
            "paired": [_paired(each) for each in found.paired],
            "notes": list(found.notes),
        }
    )
    return told


def _side(found: Beside, side: Side) -> dict[str, Any]:
    models = [_model(found, model) for model in side.models]
    return {"name": side.name, "models": models, "texts": list(side.texts), "tokens_per_s_written": side.tokens_per_s}


def _model(found: Beside, model: Model) -> dict[str, Any]:
    kept = ("name", "seed", "parameters", "iteration", "tokens", "flops", "bits_a_byte", "guarded")
    told: dict[str, Any] = {name: getattr(model, name) for name in kept}
    if found.alike:
        k = found.asked.k
        told |= {"loss": model.read.loss, "calibration_error": model.read.calibration_error()}
        told["accuracy"] = {str(each): model.read.accuracy(each) for each in sorted({1, k})}
        told["by_position"] = [
            {"from": low, "to": high, "loss": loss, "accuracy": right} for low, high, loss, right in by_position(model)
        ]
        told["calibration"] = [vars(each) for each in model.read.bins()]
    told |= {"tokens_per_s_read": model.read.tokens_per_s, "entropy": model.entropy, "learnables": model.learnables}
    told["code"] = {"tunemax": model.tunemax, "plugins": [each.model_dump() for each in model.plugins]}
    return told | {"config": model.config.active()}


def _paired(each: Paired) -> dict[str, Any]:
    quantities = {
        name: {"first": one, "second": two, **asdict(each.differences[name])} for name, (one, two) in each.means.items()
    }
    own = {"first": each.first, "second": each.second, "seeds": list(each.seeds), "quantities": quantities}
    return own | {"versus": each.versus.to_json() if each.versus else None, "claim": each.claim}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


__all__ = ["answer", "drawn", "measured", "sections", "to_json"]
