"""The shapes of an exploration file: lists, ranges, conditions, groups; and the combinations of values that it means.

Facts from the runner of ReaLLMASIC's nanoGPT and of its descendants (optimization_and_search/run_experiments.py).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunemax.gpt.errors import did_you_mean
from tunemax.gpt.fields import Value
from tunemax.search.question.dimension import shown
from tunemax.search.question.yaml_lines import Fault, Where

MOST = 100_000
"""Combinations, at most, that one file may mean."""
STATIC, VARIATION = "named_static_groups", "named_variation_groups"
COMMON, GROUPS, SETTINGS, NAME = "common_group", "parameter_groups", "named_group_settings", "named_group"
REFERENCES = {"named_group_alternates": (STATIC, VARIATION), "named_group_static": (STATIC,)}
REFERENCES |= {"named_group_variations": (VARIATION,)}
"""How a block refers to named groups, and which kinds of them each way may name."""
TOP = (STATIC, VARIATION, COMMON)
"""What only the outermost block may have."""
WORDS = (*TOP, GROUPS, SETTINGS, NAME, *REFERENCES)
"""Keys that are no settings."""
OMITTED = "default"
"""A value by which a setting is left out, as a null is."""

Clause = tuple[tuple[str, Value], ...]
"""Settings with the values that they must have, all of them."""
Known = Callable[[str, Where], None]
"""Raises Fault for a name that is no setting of the sandbox."""


@dataclass(frozen=True)
class Given:
    """One value of a setting, as it is written, and where."""

    value: Value | tuple[Any, ...] | None
    where: Where


@dataclass(frozen=True)
class Setting:
    """The values of a setting; with clauses it is set only where one of these holds."""

    options: tuple[Given, ...]
    where: Where
    clauses: tuple[Clause, ...] = ()


@dataclass(frozen=True)
class Branch:
    """One way through all groups: the settings that hold in it, and the names of the groups that it took."""

    settings: Mapping[str, Setting] = field(default_factory=dict)
    labels: tuple[str, ...] = ()


Combination = Mapping[str, Given]
"""What one training is given, by the names of the sandbox."""


def branches(documents: Any, known: Known) -> list[Branch]:
    """Every branch of the file whose documents these are. Raises Fault."""
    listed = [document for document in documents if document is not None]
    blocks: list[tuple[Any, Where]] = []
    for index, document in enumerate(documents):
        if isinstance(document, list):
            blocks += [(block, (index, place)) for place, block in enumerate(document)]
        elif document is not None:
            blocks.append((document, (index,)))
    if not blocks:
        what = "an empty list" if listed else "an empty file"
        raise Fault((), f"{what}; an exploration file is a mapping of settings with their values, or a list of such")
    found: list[Branch] = []
    for block, where in blocks:
        found += _Reader(_mapping(block, where, "a block of settings"), where, known).branches()
        limit(len(found), where)
    return found


def combinations(branch: Branch) -> Iterator[dict[str, Given]]:
    """What each training of a branch is given; what is left out is not in it."""
    plain = {name: setting.options for name, setting in branch.settings.items() if not setting.clauses}
    conditional = {name: setting for name, setting in branch.settings.items() if setting.clauses}
    for chosen in itertools.product(*plain.values()):
        found = [dict(zip(plain, chosen, strict=True))]
        for name, setting in conditional.items():
            found = [
                {**combination, name: option} if option else combination
                for combination in found
                for option in (setting.options if _holds(setting.clauses, combination) else (None,))
            ]
        for combination in found:
            yield {name: given for name, given in combination.items() if given.value is not None}


def limit(count: float, where: Where) -> None:
    """Raise Fault for more combinations than one file may mean."""
    if count > MOST:
        raise Fault(where, f"more than {MOST:,} combinations; make several files of it")


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same on the sandbox's command line: 6 and "6" are, true and 1 are not."""
    return bool(_plain(one) == _plain(other))


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return ("true or false", value)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return value


def _holds(clauses: Sequence[Clause], combination: Combination) -> bool:
    return any(
        all(name in combination and same(combination[name].value, value) for name, value in clause)
        for clause in clauses
    )


class _Reader:
    """Reads one block with the named groups that stand in it."""

    def __init__(self, block: Mapping[str, Any], where: Where, known: Known) -> None:
        self._block, self._where, self._known = block, where, known
        self._groups = {kind: self._named(kind) for kind in (STATIC, VARIATION)}
        self._read: dict[tuple[str, str], list[Branch]] = {}

    def branches(self) -> list[Branch]:
        """The branches of the block, each with what is common to all."""
        common = self._common()
        for kind, groups in self._groups.items():
            for name in groups:  # those that nothing refers to are checked, too
                self._group(kind, name, self._where, ())
        found = self._expanded({key: value for key, value in self._block.items() if key not in TOP}, self._where, ())
        for branch in found:
            for name in branch.settings.keys() & common.settings.keys():
                reason = f"{name} stands in {COMMON}, which nothing may override; take it out of one of them"
                if _values(branch.settings[name]) != _values(common.settings[name]):
                    raise Fault(branch.settings[name].where, reason)
        return [Branch({**common.settings, **branch.settings}, branch.labels) for branch in found]

    def _common(self) -> Branch:
        where = (*self._where, COMMON)
        given = _mapping(self._block.get(COMMON, {}), where, COMMON)
        settings = self._settings(given, where, words=())
        for name, setting in settings.items():
            if len(setting.options) != 1 or setting.clauses:
                raise Fault(setting.where, f"{name}: what is common to all has one value; move it into {GROUPS}")
        return Branch(settings)

    def _named(self, kind: str) -> dict[str, tuple[Mapping[str, Any], Where]]:
        """The named groups of a kind, and where they stand."""
        found: dict[str, tuple[Mapping[str, Any], Where]] = {}
        for body, where in _listed(self._block.get(kind), (*self._where, kind)):
            group = _mapping(body, where, "a named group")
            name = group.get(NAME)
            if not isinstance(name, str) or not name:
                raise Fault(where, f"a group of {kind} needs a name; add {NAME}: NAME")
            if name in found:
                raise Fault((*where, NAME), f"{name}: a second group of this name in {kind}; rename one")
            found[name] = ({key: value for key, value in group.items() if key != NAME}, where)
        return found

    def _group(self, kind: str, name: str, where: Where, trail: tuple[str, ...]) -> list[Branch]:
        if name in trail:
            raise Fault(where, f"{' → '.join((*trail, name))}: the group leads back to itself; take one of them out")
        if (kind, name) not in self._read:
            body, place = self._groups[kind][name]
            found = self._expanded(body, place, (*trail, name))
            self._read[kind, name] = [Branch(branch.settings, (*branch.labels, name)) for branch in found]
        return self._read[kind, name]

    def _referred(self, name: Any, kinds: Sequence[str], where: Where, trail: tuple[str, ...]) -> list[Branch]:
        kind = next((kind for kind in kinds if isinstance(name, str) and name in self._groups[kind]), None)
        if kind is not None:
            return self._group(kind, name, where, trail)
        other = next((kind for kind in (STATIC, VARIATION) if name in map(str, self._groups[kind])), None)
        if other is not None:
            raise Fault(where, f"{name} is one of {other}, which this cannot name; write it under another key")
        there = [known for kind in kinds for known in self._groups[kind]]
        raise Fault(where, f"{shown(name)}: no such group in {' or '.join(kinds)}{did_you_mean(str(name), there)}")

    def _expanded(self, body: Mapping[str, Any], where: Where, trail: tuple[str, ...]) -> list[Branch]:
        """The branches of a block or a group."""
        for key in body.keys() & {*TOP, NAME}:
            raise Fault((*where, key), f"{key} stands at the outermost level only; move it there")
        found = [Branch(self._settings(body, where))]
        if body.get(SETTINGS) is not None:
            inner = (*where, SETTINGS)
            more = self._settings(_mapping(body[SETTINGS], inner, SETTINGS), inner, words=())
            found = _joined(found, [Branch(more)], inner)
        for key, kinds in REFERENCES.items():
            options = [
                (self._referred(name, kinds, at, trail), at) for name, at in _listed(body.get(key), (*where, key))
            ]
            if key == "named_group_alternates" and options:
                options = [([branch for each, _ in options for branch in each], (*where, key))]
            for each, at in options:
                found = _joined(found, each, at)
        groups = _listed(body.get(GROUPS), (*where, GROUPS))
        if not groups:
            return found
        inside = [
            branch for group, at in groups for branch in self._expanded(_mapping(group, at, "a group"), at, trail)
        ]
        limit(len(found) * len(inside), (*where, GROUPS))
        return [
            Branch({**outer.settings, **inner.settings}, (*outer.labels, *inner.labels))
            for outer in found
            for inner in inside
        ]

    def _settings(self, body: Mapping[str, Any], where: Where, words: Sequence[str] = WORDS) -> dict[str, Setting]:
        found = {}
        for name, given in body.items():
            if name in words:
                continue
            at = (*where, name)
            self._known(name, at)
            found[name] = setting = _setting(name, given, at)
            for other in {other for clause in setting.clauses for other, _ in clause}:
                self._known(other, (*at, "conditions"))
        return found


def _joined(some: Sequence[Branch], others: Sequence[Branch], where: Where) -> list[Branch]:
    """Each branch of some with each of others, which may not contradict it."""
    limit(len(some) * len(others), where)
    found = []
    for one, other in itertools.product(some, others):
        for name in one.settings.keys() & other.settings.keys():
            before, after = one.settings[name], other.settings[name]
            if _values(before) != _values(after) or before.clauses != after.clauses:
                both = f"{shown(list(_values(before)))} and {shown(list(_values(after)))}"
                raise Fault(where, f"{name} is {both} in one combination of groups; keep one of them")
        labels = (*one.labels, *(label for label in other.labels if label not in one.labels))
        found.append(Branch({**one.settings, **other.settings}, labels))
    return found


def _setting(name: str, given: Any, where: Where) -> Setting:
    if not isinstance(given, dict):
        return Setting(_options(name, given, where), where)
    for key in given:
        if key not in ("range", "conditions", "options"):
            near = did_you_mean(str(key), ("range", "conditions", "options"))
            raise Fault((*where, key), f"{name}: {key} is no part of a setting{near}")
    if "range" in given:
        if len(given) > 1:
            raise Fault(where, f"{name}: a range stands alone; put it under options")
        return Setting(_range(name, given["range"], (*where, "range")), where)
    if "options" not in given:
        raise Fault(where, f"{name}: has conditions and no options; add options: [first, second]")
    options = given["options"]
    if isinstance(options, dict):
        inner = _setting(name, options, (*where, "options"))
        if inner.clauses:
            raise Fault(inner.where, f"{name}: conditions in options of a condition; write all in one")
        found = inner.options
    else:
        found = _options(name, options, (*where, "options"))
    clauses = _clauses(name, given["conditions"], (*where, "conditions")) if "conditions" in given else ()
    return Setting(found, where, clauses)


def _options(name: str, given: Any, where: Where) -> tuple[Given, ...]:
    if not isinstance(given, list):
        return (_given(name, given, where),)
    if not given:
        raise Fault(where, f"{name}: an empty list leaves no combination; list a value, or take the setting out")
    return tuple(_given(name, value, (*where, index)) for index, value in enumerate(given))


def _given(name: str, value: Any, where: Where) -> Given:
    if isinstance(value, dict):
        raise Fault(where, f"{name}: {shown(value)} among values; expected a text, a number, true or false")
    if isinstance(value, list):
        return Given(tuple(map(str, value)), where)
    return Given(None if value == OMITTED else value, where)


def _range(name: str, given: Any, where: Where) -> tuple[Given, ...]:
    """Both ends of a range and its steps; the end only if a step leads there."""
    bounds = _mapping(given, where, "a range")
    for key, value in bounds.items():
        if key not in ("start", "end", "step"):
            near = did_you_mean(str(key), ("start", "end", "step"))
            raise Fault((*where, key), f"{name}: {key} is no part of a range{near}")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise Fault((*where, key), f"{name}: {key} is {shown(value)}, expected a number")
    for key in ("start", "end"):
        if key not in bounds:
            raise Fault(where, f"{name}: a range needs its {key}; add {key}: NUMBER")
    start, end = bounds["start"], bounds["end"]
    step = bounds.get("step", 1 if isinstance(start, int) else 0.1)
    if step <= 0 or start > end:
        wrong = f"step is {shown(step)}" if step <= 0 else f"start is {shown(start)} and end {shown(end)}"
        raise Fault(where, f"{name}: {wrong}; a range goes up, by a step above 0")
    steps = (end - start) / step
    limit(steps + 1 if math.isfinite(steps) else math.inf, where)
    numbers = (start + index * step for index in range(math.floor(steps + 1e-9) + 1))
    return tuple(Given(each if isinstance(each, int) else float(f"{each:.12g}"), where) for each in numbers)


def _clauses(name: str, given: Any, where: Where) -> tuple[Clause, ...]:
    """A list of pairs, all of which must hold; a mapping of such pairs; or a list of mappings, one of which must."""
    pairs = [given] if isinstance(given, dict) else given
    if isinstance(pairs, list) and pairs:
        if all(isinstance(pair, dict) and pair for pair in pairs):
            return tuple(tuple(_pair(name, pair, where) for pair in clause.items()) for clause in pairs)
        if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            return (tuple(_pair(name, pair, where) for pair in pairs),)
    raise Fault(where, f"{name}: {shown(given)}, expected conditions such as [[softmax_variant_attn, consmax]]")


def _pair(name: str, pair: Sequence[Any], where: Where) -> tuple[str, Value]:
    other, value = pair
    if not isinstance(other, str) or not isinstance(value, (bool, int, float, str)):
        raise Fault(where, f"{name}: the condition {shown(list(pair))}, expected a setting and one value of it")
    return other, value


def _values(setting: Setting) -> tuple[Any, ...]:
    return tuple(_plain(given.value) for given in setting.options)


def _listed(given: Any, where: Where) -> list[tuple[Any, Where]]:
    """The items of a list with their places; one item that stands by itself; nothing."""
    if given is None:
        return []
    return (
        [(item, (*where, index)) for index, item in enumerate(given)] if isinstance(given, list) else [(given, where)]
    )


def _mapping(given: Any, where: Where, what: str) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise Fault(where, f"{shown(given)}, expected {what}: names with their values")
    return given
