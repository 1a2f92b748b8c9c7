"""One dimension of a search space: read from a study file, checked against its field, and active or not."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tunemax.gpt.config import PARTS, all_specs, resolve
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import Above, Allowed, Choices, Condition, FieldSpec, Range, Value
from tunemax.gpt.optimizer import Optimizer
from tunemax.gpt.text_config import Text
from tunemax.search.question.counting import counted
from tunemax.search.question.yaml_lines import Fault, Where

Dimension = Range | Choices

Space = Mapping[str, Dimension]
"""Dimensions by flat field name."""

Written = tuple[FieldSpec, str, Any]
"""A field that a file names, its name as it is written, and what is written of it."""

Values = Callable[[FieldSpec, Dimension], Sequence[Value]]
"""Those of a dimension that are tried."""

MOST_POINTS = 10_000
"""Steps of a range, at most, for its values to be listed one by one."""

MOST_TRIED = 400
"""Combinations that are tried before a study is accepted; as many are drawn besides."""

MOST_STEPS = 1e6
"""Above it a step is a mistake, and floats no longer tell one from the next."""

OWNED: Mapping[str, str] = {
    "dataset": "data",
    "seed": "seed",
    "max_iters": "budget",
    "eval_slice": "the stage (trials are tuned on one slice, winners confirmed on another)",
    "out_dir": "the place of the study (each trial gets a folder of its own)",
    "tensorboard_run_name": "the trials' numbers",
}
"""Fields that neither base nor space may name, and what decides them in a study."""

MEASURING = ("eval_by", "eval_tokens", "eval_iters", "divergence_margin")
"""Fields that decide how a trial is measured; they may stand in base alone, since all trials are measured alike."""

TOKENS = tuple(name for name in Text.model_fields if name not in OWNED)
"""Fields that decide what a token is, and with it what a loss means; they may stand in base alone, too."""


def options(spec: FieldSpec) -> tuple[Value, ...]:
    """All values of a field that has finitely many, else nothing. The registered kinds where it names one."""
    return tuple(PARTS[spec.name].kinds()) if spec.name in PARTS else spec.options or spec.names


def default_range(spec: FieldSpec) -> Dimension | None:
    """What a study file means by `default`, today."""
    return Choices(options(spec)) if spec.name in PARTS else spec.declared.search


def read_fields(place: Where, given: Mapping[Any, Any]) -> list[Written]:
    """The fields that a part of a file names. Raises Fault."""
    fields: dict[str, Written] = {}
    for key, value in given.items():
        spec = read_field(place, key, (*place, key))
        if spec.name in fields:
            raise Fault((*place, key), f"given twice, also as {fields[spec.name][1]}; keep one")
        fields[spec.name] = (spec, key, value)
    return list(fields.values())


def read_field(place: Where, key: Any, where: Where) -> FieldSpec:
    """The field of a name, if this part of a file may name it. Raises Fault."""
    try:
        name = resolve(str(key))
    except TunemaxError as error:
        raise Fault(where, str(error).removeprefix(f"{key}: ")) from None
    if name in OWNED and (place, name) != (("space",), "seed"):  # whether it may be searched is seen with the sampler
        raise Fault(where, f"{name} is decided by {OWNED[name]} in a study file; take it out of {place[-1]}")
    if name in MEASURING and place != ("base",):
        reason = "decides how trials are measured, which must be the same for all of them"
        raise Fault(where, f"{name} {reason}; set it in base")
    if name in TOKENS and place != ("base",):
        reason = "decides what a token is, and a study compares losses a token"
        raise Fault(where, f"{name} {reason}; set it in base, or make a study for each and compare bits a byte")
    return all_specs()[name]


def read_values(place: Where, given: Mapping[Any, Any]) -> dict[str, Value]:
    """Fields with one value each. Raises Fault."""
    return {spec.name: check_value(spec, value, (*place, key)) for spec, key, value in read_fields(place, given)}


def check_value(spec: FieldSpec, value: Any, where: Where) -> Value:
    """A value as the field has it (an alias of a kind becomes its name). Raises Fault."""
    if value is None or isinstance(value, (list, dict)):
        raise Fault(where, f"{shown(value)}, expected {spec.valid()}; several values to try go into space")
    if spec.name in PARTS and isinstance(value, str):
        try:
            return PARTS[spec.name].find(value).name
        except TunemaxError as error:
            raise Fault(where, str(error)) from None
    try:
        checked: Value = spec.check(value)
        return checked
    except TunemaxError:
        near = did_you_mean(str(value), map(str, spec.options)) if spec.options else ""
        raise Fault(where, f"{shown(value)}, expected {spec.expected(value)}{near if '`' in near else ''}") from None


def shown(value: Any) -> str:
    """A value as a message shows it: as YAML would have it, and not too long."""
    text = str(value) if isinstance(value, (str, list, dict)) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_dimension(spec: FieldSpec, given: Any, where: Where) -> Dimension:
    """A dimension as a study file writes it: ``default``, a list, ``{choices: [...]}`` or a range.

    A range is ``{low:, high:, log:, step:}``; what it leaves out comes from the field's own. Raises Fault.
    """
    if not spec.declared.identity:
        raise Fault(where, "does not change what is trained, so it cannot be searched; set it in base")
    if given == "default":
        return _default(spec, where)
    if isinstance(given, list):
        return _choices(spec, given, where)
    if isinstance(given, dict) and "choices" in given:
        _only(given, ("choices",), where, "beside choices")
        return _choices(spec, given["choices"], (*where, "choices"))
    if isinstance(given, dict) and given:
        return _range(spec, given, where)
    ways = "default, a list, or {low:, high:, log:}"
    raise Fault(where, f"{shown(given)} is no dimension; write {ways}; a single value goes into base")


def contains(dimension: Dimension, value: Value) -> bool:
    """Whether a sampler could choose this value."""
    if isinstance(dimension, Choices):
        return value in dimension.values
    if not isinstance(value, (int, float)) or not dimension.low <= value <= dimension.high:
        return False
    return dimension.step is None or _whole((value - dimension.low) / dimension.step)


def points(spec: FieldSpec, dimension: Dimension) -> tuple[Value, ...]:
    """The values of a dimension that has few, else nothing."""
    if isinstance(dimension, Choices):
        return dimension.values
    if dimension.step is None or dimension.high - dimension.low > MOST_POINTS * dimension.step:
        return ()
    count = round((dimension.high - dimension.low) / dimension.step) + 1
    numbers = (float(f"{dimension.low + index * dimension.step:.12g}") for index in range(count))
    return tuple(int(number) if spec.annotation is int else number for number in numbers)


def extremes(spec: FieldSpec, dimension: Dimension) -> tuple[Value, ...]:
    """All choices, or the two ends of a range."""
    if isinstance(dimension, Choices):
        return dimension.values
    return tuple(spec.annotation(end) for end in (dimension.low, dimension.high))


def active_dimensions(space: Space, fixed: Mapping[str, Value]) -> dict[str, Dimension]:
    """The dimensions that can mean anything beside these fixed values, each behind those that its condition names."""
    return {name: dimension for name, dimension in _by_condition(space) if inert_because(name, space, fixed) is None}


def conditional(space: Space) -> bool:
    """Whether some dimensions mean something only at some values of others."""
    return any(other in space for name in space for other in all_specs()[name].depends_on)


def inert_because(name: str, space: Space, fixed: Mapping[str, Value]) -> str | None:
    """Why a field can never mean anything beside these dimensions and fixed values; None if it can."""
    spec = all_specs()[name]
    if reason := _impossible(spec.when, space, fixed):
        return f"means something only if {reason}"
    alternatives = [_impossible(condition, space, fixed) for condition in spec.any_of]
    missing = list(dict.fromkeys(reason for reason in alternatives if reason))
    if not missing or None in alternatives:
        return None
    near = [reason for reason in missing if not reason.startswith("softmax_variant ")]  # of the variant that is there
    return f"means something only if {' or '.join(near or missing[:1])}"


def inert_everywhere(name: str, spaces: Sequence[tuple[Space, Mapping[str, Value]]]) -> str | None:
    """Why a field that siblings search or share means nothing in any of them; None if it can in one.

    spaces: of each sibling, with what is fixed in it.
    """
    searching = [(space, fixed) for space, fixed in spaces if name in space] or spaces
    reasons = [inert_because(name, space, fixed) for space, fixed in searching]
    if None in reasons:
        return None
    return next((reason for reason in reasons if "softmax_variant" not in str(reason)), reasons[0])


def _impossible(condition: Condition, space: Space, fixed: Mapping[str, Value]) -> str | None:
    for other, allowed in condition.items():
        searched = other in space and inert_because(other, space, fixed) is None
        current = fixed.get(other, all_specs()[other].default)
        if not (_reaches(space[other], allowed) if searched else current in allowed):
            return f"{_words(other, allowed)} ({'never in its space' if searched else f'it is {shown(current)}'})"
    return None


def _reaches(dimension: Dimension, allowed: Allowed) -> bool:
    """Whether a sampler could choose one of these values."""
    if isinstance(allowed, Above):
        return any(end in allowed for end in (dimension.values if isinstance(dimension, Choices) else [dimension.high]))
    return any(contains(dimension, value) for value in allowed)


def _words(name: str, allowed: Allowed) -> str:
    if isinstance(allowed, Above):
        return f"{name} is above {shown(allowed.bound)}"
    return f"{name} is {' or '.join(map(shown, allowed))}"


def combinations(space: Space, fixed: Mapping[str, Value], values: Values) -> Iterator[dict[str, Value]]:
    """Every combination of some values of each dimension, inert dimensions left out, so none comes twice."""
    start, dimensions = {**defaults(fixed), **fixed}, list(active_dimensions(space, fixed).items())

    def extend(chosen: dict[str, Value], rest: Sequence[tuple[str, Dimension]]) -> Iterator[dict[str, Value]]:
        if not rest:
            yield chosen
            return
        (name, dimension), *others = rest
        spec = all_specs()[name]
        if not spec.active({**start, **chosen}):
            yield from extend(chosen, others)
            return
        for value in values(spec, dimension):
            yield from extend({**chosen, name: value}, others)

    return extend({}, dimensions)


def tried(space: Space, fixed: Mapping[str, Value]) -> Iterator[dict[str, Value]]:
    """Combinations of all values of choices and short stepped ranges, and the ends of the others: the first so many,
    and as many that are drawn if there are more."""

    def values(spec: FieldSpec, dimension: Dimension) -> tuple[Value, ...]:
        if isinstance(dimension, Choices) or 0 < len(points(spec, dimension)) <= 128:
            return points(spec, dimension)
        return extremes(spec, dimension)

    first = list(itertools.islice(combinations(space, fixed, values), MOST_TRIED))
    yield from first
    draw = random.Random(0)
    for _ in range(MOST_TRIED if len(first) == MOST_TRIED else 0):
        yield from combinations(space, fixed, lambda spec, dimension: (draw.choice(values(spec, dimension)),))


def defaults(beside: Mapping[str, Value]) -> dict[str, Value]:
    """Every field at its default, those of all variants included; an optimizer that is named beside them has its own.
    Raises TunemaxError for an unknown one."""
    optimizer = Optimizer.find(str(beside.get("optimizer", all_specs()["optimizer"].default)))
    return {**{name: spec.default for name, spec in all_specs().items()}, **optimizer.defaults}


def _by_condition(space: Space) -> list[tuple[str, Dimension]]:
    specs = all_specs()

    def depth(name: str) -> int:
        return 1 + max((depth(other) for other in specs[name].depends_on if other in space), default=0)

    return sorted(space.items(), key=lambda item: depth(item[0]))


def _default(spec: FieldSpec, where: Where) -> Dimension:
    if spec.declared.search is None:
        remedy = f"write {{low:, high:}} or a list of values ({spec.valid()})"
        raise Fault(where, f"{spec.name} has no default range; {remedy}")
    return spec.declared.search


def _choices(spec: FieldSpec, given: Any, where: Where) -> Choices:
    if not isinstance(given, list):
        raise Fault(where, f"{shown(given)} is no list; write [first, second, …]")
    values = tuple(check_value(spec, value, (*where, index)) for index, value in enumerate(given))
    for index, value in enumerate(values):
        if value in values[:index]:
            raise Fault((*where, index), f"{value} is listed twice; keep one")
    if len(values) < 2:
        raise Fault(where, f"{counted(len(values), 'value')} to choose from; list at least two, or set one in base")
    return Choices(values)


def _range(spec: FieldSpec, given: dict[str, Any], where: Where) -> Range:
    _only(given, ("low", "high", "log", "step"), where, "in a range")
    if spec.annotation not in (int, float):
        raise Fault(where, f"a range needs numbers, but {spec.name} is {spec.valid()}; list its values")
    declared = spec.declared.search if isinstance(spec.declared.search, Range) else None
    lowest, highest = (declared.low, declared.high) if declared else (None, None)
    low = _end(spec, "low", given.get("low"), lowest, where)
    high = _end(spec, "high", given.get("high"), highest, where)
    if not low < high:
        raise Fault(where, f"low = {low:g} is not below high = {high:g}; change one of them")

    log = given.get("log", declared.log if declared else False)
    if not isinstance(log, bool):
        raise Fault((*where, "log"), f"{shown(log)} is neither true nor false")
    if log and low <= 0:
        raise Fault(where, f"low = {low:g}: a log range needs low > 0; raise low or write log: false")
    step: float | None
    if given.get("step") is not None:
        step = _step(spec, given["step"], low, high, log, (*where, "step"))
    else:
        step = None if log or "step" in given else (declared.step if declared else None)
        step = 1.0 if spec.annotation is int and not log and step is None else step
    if step is not None and not _whole((high - low) / step):
        reached = low + math.floor((high - low) / step) * step
        steps = f"no whole number of steps of {step:g} above low = {low:g}"
        raise Fault(where, f"high = {high:g} is {steps}; the last one is {reached:g}")
    return Range(low, high, log, step)


def _end(spec: FieldSpec, end: str, given: Any, declared: float | None, where: Where) -> float:
    if given is not None:
        return float(check_value(spec, given, (*where, end)))
    if declared is None:
        raise Fault(where, f"{end} is missing, and {spec.name} has no default range")
    return declared


def _step(spec: FieldSpec, given: Any, low: float, high: float, log: bool, where: Where) -> float:
    if log:
        raise Fault(where, "a log range has no step; leave out one of them")
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given <= high - low:
        raise Fault(where, f"{shown(given)}: expected a number above 0 and not above high − low = {high - low:g}")
    if given * MOST_STEPS < high - low:
        raise Fault(where, f"{given!r}: more than {MOST_STEPS:g} steps; leave step out")
    if spec.annotation is int and not _whole(given):
        raise Fault(where, f"{shown(given)}: {spec.name} is a whole number, so its step is one too")
    return float(given)


def _only(given: dict[str, Any], known: tuple[str, ...], where: Where, place: str) -> None:
    for key in given:
        if key not in known:
            raise Fault((*where, key), f"no such key {place}{did_you_mean(key, known)}")


def _whole(number: float) -> bool:
    return math.isfinite(number) and abs(number - round(number)) < 1e-6
