"""The space of a study file: its dimensions, and those that siblings have to themselves.

What `default` means, and the ends that a range leaves out, may be an optimizer's own. So where siblings are optimizers,
each searches about its own learning rate; where a study chooses between them, it searches what holds the ranges of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunemax.gpt.defaults import defaults_of, searched_in
from tunemax.gpt.errors import did_you_mean
from tunemax.gpt.fields import Choices, FieldSpec, Range, Value
from tunemax.gpt.optimizer import Optimizer
from tunemax.search.question.dimension import (
    Dimension,
    Space,
    Written,
    default_range,
    defaults,
    inert_because,
    read_dimension,
    shown,
)
from tunemax.search.question.yaml_lines import Fault, Where

Compared = Mapping[str, Mapping[str, Value]]
"""The candidates by name, each with the fields that are its own."""


def read_space(
    fields: Sequence[Written], base: Mapping[str, Value], schema: int, compared: Compared
) -> tuple[dict[str, Dimension], dict[str, dict[str, Dimension]]]:
    """The space, and by candidate the dimensions that are others in it. Raises Fault.

    schema: whose defaults and default ranges hold. compared: none where there is one study.
    """
    for spec, key, _ in fields:
        if spec.name in base:
            raise Fault(("space", key), f"{spec.name} is also in base, as {shown(base[spec.name])}; keep one of them")
    optimizers = {name: _optimizers(fields, base, own) for name, own in (compared or {"": {}}).items()}
    space: dict[str, Dimension] = {}
    ranges: dict[str, dict[str, Dimension]] = {name: {} for name in compared}
    for spec, key, written in fields:
        found = {
            name: around(
                [read_dimension(_searched(spec, optimizer, schema), part, at) for optimizer in optimizers[name]]
            )
            for name, part, at in _parts(spec, written, compared, ("space", key))
        }
        space[spec.name] = around(list(found.values()))
        for name, dimension in found.items():
            if compared:
                ranges[name][spec.name] = dimension
    _check_all_given(fields, {**defaults_of(schema), **base}, compared, space, ranges)
    others = {name: {f: dim for f, dim in own.items() if dim != space[f]} for name, own in ranges.items()}
    return space, {name: own for name, own in others.items() if own}


def around(dimensions: Sequence[Dimension]) -> Dimension:
    """One dimension that holds all of these, which are of one field."""
    ranges = [each for each in dimensions if isinstance(each, Range)]
    if not ranges:
        lists = [each.values for each in dimensions if isinstance(each, Choices)]
        return Choices(tuple(dict.fromkeys(value for values in lists for value in values)))
    if all(each == dimensions[0] for each in dimensions):
        return dimensions[0]
    return Range(min(each.low for each in ranges), max(each.high for each in ranges), all(each.log for each in ranges))


def _check_all_given(
    fields: Sequence[Written], base: Mapping[str, Value], compared: Compared, space: Space, ranges: Mapping[str, Space]
) -> None:
    """A dimension that gives candidates ranges of their own has one for each in which it means something."""
    for name, own in compared.items():
        searched = {**{field: dim for field, dim in space.items() if field not in own}, **ranges[name]}
        for spec, key, _ in fields:
            missing = spec.name in searched and spec.name not in ranges[name]
            if missing and inert_because(spec.name, searched, {**base, **own}) is None:
                raise Fault(("space", key, "per"), f"{name} is missing; give each candidate its range, or default")


def _optimizers(fields: Sequence[Written], base: Mapping[str, Value], own: Mapping[str, Value]) -> Sequence[str]:
    """Those that trials of a candidate with these fields of its own may have."""
    if "optimizer" in own:
        return [str(own["optimizer"])]
    searched = next((item for item in fields if item[0].name == "optimizer"), None)
    dimension = read_dimension(searched[0], searched[2], ("space", searched[1])) if searched else None
    if isinstance(dimension, Choices):
        return [str(value) for value in dimension.values]
    return [str({**defaults({}), **base}["optimizer"])]


def _searched(spec: FieldSpec, optimizer: str, schema: int) -> FieldSpec:
    """A field with the range that `default` means for it beside this optimizer."""
    search = {**searched_in(schema), **Optimizer.find(optimizer).ranges}.get(spec.name, default_range(spec))
    return replace(spec, declared=replace(spec.declared, search=search))


def _parts(spec: FieldSpec, written: Any, compared: Compared, where: Where) -> Iterator[tuple[str, Any, Where]]:
    """What a dimension says of each candidate that does not fix the field, in order; of "" where there are none."""
    searching = [name for name, own in compared.items() if spec.name not in own]
    if compared and not searching:
        raise Fault(where, f"every candidate decides {spec.name} itself; take it out of space")
    if not (isinstance(written, dict) and "per" in written):
        yield from ((name, written, where) for name in searching or [""])
        return
    parts = written["per"]
    if not compared:
        raise Fault(where, "`per` gives candidates ranges of their own, and there are none; write one range")
    if len(written) > 1 or not isinstance(parts, dict) or not parts:
        raise Fault(
            where, f"expected {{per: {{{searching[0]}: …}}}} with a range for each candidate, and nothing beside it"
        )
    keys = {shown(key): key for key in parts}
    for name, key in keys.items():
        at = (*where, "per", key)
        if name not in compared:
            raise Fault(at, f"{name} is no candidate of this study{did_you_mean(name, compared)}")
        if name not in searching:
            fixed = f"{name} has {spec.name} fixed, as {shown(compared[name][spec.name])}"
            raise Fault(at, f"{fixed}; take it out here, or there")
    yield from ((name, parts[keys[name]], (*where, "per", keys[name])) for name in searching if name in keys)
