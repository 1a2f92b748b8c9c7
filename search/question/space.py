"""The space of a study file: its dimensions, and those that siblings have to themselves.

What `default` means, and the ends that a range leaves out, may be an optimizer's own. So where siblings are optimizers,
each searches about its own learning rate; where a study chooses between them, it searches what holds the ranges of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunemax.gpt.defaults import searched_in
from tunemax.gpt.errors import did_you_mean
from tunemax.gpt.fields import Choices, FieldSpec, Range, Value
from tunemax.gpt.optimizer import Optimizer
from tunemax.search.question.dimension import Dimension, default_range, defaults, read_dimension, shown
from tunemax.search.question.yaml_lines import Fault, Where

Written = tuple[FieldSpec, str, Any]
"""A field that is searched, its name as it is written, and its dimension as it is written."""


def read_space(
    fields: Sequence[Written], base: Mapping[str, Value], schema: int, per: str | None, compare: Sequence[Value]
) -> tuple[dict[str, Dimension], dict[str, dict[str, Dimension]]]:
    """The space, and by sibling the dimensions that are others in it. Raises Fault.

    schema: whose default ranges hold. per, compare: the field that tells siblings apart, and its values.
    """
    for spec, key, _ in fields:
        if spec.name in base:
            raise Fault(("space", key), f"{spec.name} is also in base, as {shown(base[spec.name])}; keep one of them")
    siblings = [shown(value) for value in compare]
    optimizers = {name: _optimizers(fields, base, per, name) for name in siblings or [""]}
    space: dict[str, Dimension] = {}
    own: dict[str, dict[str, Dimension]] = {}
    for spec, key, written in fields:
        found = {
            name: around(
                [read_dimension(_searched(spec, optimizer, schema), part, at) for optimizer in optimizers[name]]
            )
            for name, part, at in _parts(written, siblings, ("space", key))
        }
        space[spec.name] = around(list(found.values()))
        for sibling in siblings:
            if found[sibling] != space[spec.name]:
                own.setdefault(sibling, {})[spec.name] = found[sibling]
    return space, own


def around(dimensions: Sequence[Dimension]) -> Dimension:
    """One dimension that holds all of these, which are of one field."""
    ranges = [each for each in dimensions if isinstance(each, Range)]
    if not ranges:
        lists = [each.values for each in dimensions if isinstance(each, Choices)]
        return Choices(tuple(dict.fromkeys(value for values in lists for value in values)))
    if all(each == dimensions[0] for each in dimensions):
        return dimensions[0]
    return Range(min(each.low for each in ranges), max(each.high for each in ranges), all(each.log for each in ranges))


def _optimizers(fields: Sequence[Written], base: Mapping[str, Value], per: str | None, sibling: str) -> Sequence[str]:
    """Those that this sibling's trials may have."""
    if per == "optimizer":
        return [sibling]
    searched = next((item for item in fields if item[0].name == "optimizer"), None)
    dimension = read_dimension(searched[0], searched[2], ("space", searched[1])) if searched else None
    if isinstance(dimension, Choices):
        return [str(value) for value in dimension.values]
    return [str({**defaults({}), **base}["optimizer"])]


def _searched(spec: FieldSpec, optimizer: str, schema: int) -> FieldSpec:
    """A field with the range that `default` means for it beside this optimizer."""
    search = {**searched_in(schema), **Optimizer.find(optimizer).ranges}.get(spec.name, default_range(spec))
    return replace(spec, declared=replace(spec.declared, search=search))


def _parts(written: Any, siblings: Sequence[str], where: Where) -> Iterator[tuple[str, Any, Where]]:
    """What a dimension says of each sibling, in their order; of "" where there are none."""
    if not (isinstance(written, dict) and "per" in written):
        yield from ((sibling, written, where) for sibling in siblings or [""])
        return
    parts = written["per"]
    if not siblings:
        raise Fault(where, "`per` gives siblings ranges of their own, and there are none; write one range")
    if len(written) > 1 or not isinstance(parts, dict):
        raise Fault(
            where, f"expected {{per: {{{siblings[0]}: …}}}} with a range for each sibling, and nothing beside it"
        )
    keys = {shown(key): key for key in parts}
    for name, key in keys.items():
        if name not in siblings:
            raise Fault((*where, "per", key), f"{name} is no sibling of this study{did_you_mean(name, siblings)}")
    for sibling in siblings:
        if sibling not in keys:
            raise Fault((*where, "per"), f"{sibling} is missing; give each sibling its range, or default")
        yield sibling, parts[keys[sibling]], (*where, "per", keys[sibling])
