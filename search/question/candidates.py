"""What a study file compares: values of one field, or named candidates of any fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunemax.gpt.defaults import searched_in
from tunemax.gpt.fields import Choices, Value
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import (
    check_value,
    inert_because,
    options,
    read_field,
    read_fields,
    shown,
)
from tunemax.search.question.stages import NAME_RULE, is_name
from tunemax.search.question.yaml_lines import Fault

TAKEN = "report"
"""What lies beside the candidates' folders in that of a question."""


def read_per(
    given: Mapping[str, Any], base: Mapping[str, Value], schema: int, searched: Sequence[str]
) -> tuple[str | None, tuple[Value, ...]]:
    """The field that tells siblings apart, and its values: those that are given, or all that there were at a schema.

    Raises Fault.
    """
    if "per" not in given:
        if "compare" in given:
            raise Fault(("compare",), "needs `per`, the field whose values are compared; add per: softmax_variant")
        return None, ()
    if not isinstance(given["per"], str):
        raise Fault(("per",), f"{shown(given['per'])}, expected the name of a field, such as softmax_variant")
    spec = read_field(("per",), given["per"], ("per",))
    for place, names in (("base", base), ("space", searched)):
        if spec.name in names:
            remedy = f"take it out of {place}"
            raise Fault((place, spec.name), f"`per` decides {spec.name}, one sibling study a value; {remedy}")
    if not spec.declared.identity:
        raise Fault(("per",), f"{spec.name} does not change what is trained, so there is nothing to compare")
    known = searched_in(schema).get(spec.name)
    values = given.get("compare", list(known.values if isinstance(known, Choices) else options(spec)))
    if not isinstance(values, list) or not values:
        raise Fault(("compare",), f"expected a list of values of {spec.name} ({spec.valid()})")
    compare = tuple(check_value(spec, value, ("compare", index)) for index, value in enumerate(values))
    for index, value in enumerate(compare):
        if value in compare[:index]:
            raise Fault(("compare", index), f"{shown(value)} is listed twice; keep one")
    return spec.name, compare


def read_candidates(given: Mapping[str, Any]) -> dict[str, dict[str, Value]]:
    """Named alternatives of any fields: name → the fields that are the candidate's own. Raises Fault."""
    if "candidates" not in given:  # it is there and empty: somebody wanted to compare something
        return {}
    for key in ("per", "compare"):
        if given.get(key) is not None:
            raise Fault((key,), "beside `candidates`, which says itself what is compared; keep one of them")
    written, where = given["candidates"], ("candidates",)
    if not isinstance(written, dict):
        raise Fault(where, f"{shown(written)}, expected `name: {{field: value, …}}` lines")
    if len(written) < 2:
        one = f"{next(iter(written))} alone" if written else "none"
        raise Fault(where, f"{one}, so there is nothing to compare; name two or more, or put the fields into base")
    return {name: _read_candidate(name, fields) for name, fields in written.items()}


def _read_candidate(name: Any, written: Any) -> dict[str, Value]:
    where = ("candidates", name)
    if not isinstance(name, str) or not is_name(name):
        raise Fault(where, f"cannot name a candidate, expected {NAME_RULE}")
    if name == TAKEN:
        raise Fault(where, f"cannot name a candidate, since the {TAKEN} lies in a folder of this name; choose another")
    if not isinstance(written, (dict, type(None))):
        raise Fault(where, f"{shown(written)}, expected fields with their values, {{}} for none")
    fields = {}
    for spec, key, value in read_fields(where, written or {}):
        if not spec.declared.identity:
            raise Fault((*where, key), "does not change what is trained, so it cannot be compared; set it in base")
        fields[spec.name] = check_value(spec, value, (*where, key))
    return fields


def check_candidates(definition: StudyDefinition) -> None:
    """Raise Fault for a field that means nothing in its candidate."""
    siblings = dict(zip(definition.candidates, definition.siblings().values(), strict=False))
    for name, fixed in siblings.items():
        for field in definition.candidates[name]:
            if reason := inert_because(field, definition.space_of(fixed), fixed):
                raise Fault(("candidates", name, field), f"{reason}; take it out, or change what makes it inert")
