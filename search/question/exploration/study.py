"""A study file that trains what an exploration file asks for: each of its combinations once.

Combinations that are all those of some lists become a grid, with a study for each kind of a part where these are
equally many. Where they are not, as those of bundles, each bundle is a candidate, and what all bundles have in common
is their grid.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunemax.gpt.config import PARTS, all_specs
from tunemax.gpt.fields import Value
from tunemax.search.question.budget import GRID_LIMIT
from tunemax.search.question.candidates import TAKEN
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import combinations, defaults, points, read_dimension
from tunemax.search.question.exploration.sweep import Sweep
from tunemax.search.question.stages import is_name
from tunemax.search.question.study_file import define
from tunemax.search.question.yaml_lines import Fault

MOST_CANDIDATES = 100
"""Bundles that one study compares, at most."""
TRIALS = 200
"""Of a study whose grid is too large to be trained."""
LONG = 5
"""Values from which on equal steps are written as a range."""
KEPT = ("dataset", "max_iters", "eval_slice")
"""Fields of a training that a study file says elsewhere."""
SIZES = ("n_layer", "n_head", "n_embd", "block_size", "batch_size")

Point = frozenset[tuple[str, Value]]


def study(sweep: Sweep, *, name: str, source: str) -> StudyDefinition:
    """The study of a sweep. Raises Fault if none can have these trainings.

    name: the study's. source: the file's.
    """
    if len(sweep.trainings) == 1:
        raise Fault((), "one training, which is no study")
    found = _Trainings(sweep)
    common: dict[str, Any] = {
        "question": f"Which of the {len(sweep.trainings):,} trainings of {source} is best?",
        "name": name,
        "data": sweep.trainings[0].fields["dataset"],
        "base": {**found.base, "eval_interval": sweep.eval_interval},
        "sampler": "grid",
        "pruner": "none",
    }
    if found.seed is not None:
        common["seed"] = found.seed
    budget = {"horizon": sweep.trainings[0].fields["max_iters"]}
    if len(found.points) > GRID_LIMIT:
        common |= {"sampler": "tpe"}
        budget |= {"trials": TRIALS}
    try:
        return _defined(found, {**common, "budget": budget})
    except Fault:  # if iterations are no equal work: the sandbox counts them all the same
        return _defined(found, {**common, "budget": {**budget, "equal": "iterations"}})


def _defined(found: _Trainings, common: Mapping[str, Any]) -> StudyDefinition:
    space = found.space(found.varied)
    if not found.is_product:
        free, bundles = found.bundles()
        if any("seed" in bundle for bundle in bundles.values()):
            reason = "not the same for all combinations, and a study trains all on the same ones"
            raise Fault((), f"seed: {reason}; list the same seeds for all, or make several files")
        if len(bundles) > MOST_CANDIDATES:
            reason = f"{len(bundles)} bundles of fields that are not all combinations of some lists"
            raise Fault((), f"{reason}, and a study compares {MOST_CANDIDATES} at most; make several files")
        return define({**common, "candidates": bundles, "space": found.space(free)}, name="")
    for field in dict.fromkeys(("softmax_variant", *PARTS)):
        if field in space:
            rest = {name: dimension for name, dimension in space.items() if name != field}
            try:
                return define({**common, "per": field, "compare": space[field], "space": rest}, name="")
            except Fault:
                continue  # their grids differ in size
    return define({**common, "space": space}, name="")


class _Trainings:
    """The trainings of a sweep as points: the values of those fields in which they differ."""

    def __init__(self, sweep: Sweep) -> None:
        values: dict[str, dict[Value, None]] = {}
        for training in sweep.trainings:
            for name, value in training.fields.items():
                if name not in KEPT:
                    values.setdefault(name, {})[value] = None
        self._values = {name: list(each) for name, each in values.items() if len(each) > 1}
        fixed = {name: next(iter(each)) for name, each in values.items() if len(each) == 1}
        self.seed = fixed.pop("seed", None)
        optimizers = self._values.get("optimizer", [fixed.get("optimizer", "adamw")])
        usual = [defaults({"optimizer": kind}) for kind in optimizers]  # each has some defaults of its own
        self.base = {
            name: value for name, value in fixed.items() if name in SIZES or any(value != each[name] for each in usual)
        }
        self.labels = {self._point(training.fields): training.labels for training in reversed(sweep.trainings)}
        self.points = list(dict.fromkeys(self._point(training.fields) for training in sweep.trainings))

    @property
    def varied(self) -> list[str]:
        """Fields in which trainings differ."""
        return list(self._values)

    def _point(self, fields: Mapping[str, Value]) -> Point:
        return frozenset((name, fields[name]) for name in self._values if name in fields)

    def space(self, names: Iterable[str]) -> dict[str, Any]:
        """A dimension for each of these fields, with all its values."""
        return {name: _dimension(name, self._values[name]) for name in names}

    @property
    def is_product(self) -> bool:
        """Whether the trainings are all combinations of their values."""
        space = {name: read_dimension(all_specs()[name], each, ()) for name, each in self.space(self.varied).items()}
        found = itertools.islice(combinations(space, self.base, points), len(self.points) + 1)
        return {frozenset(each.items()) for each in found} == set(self.points)

    def bundles(self) -> tuple[list[str], dict[str, dict[str, Value]]]:
        """The fields that take all their values beside everything else, and the bundles of the others by name."""
        free = [name for name in self.varied if self._is_free(name)]
        rests = list(dict.fromkeys(frozenset(item for item in point if item[0] not in free) for point in self.points))
        bundles = [dict(sorted(rest)) for rest in rests]
        labels = [next(self.labels[point] for point in self.points if rest <= point) for rest in rests]
        return free, dict(zip(_names(bundles, labels), bundles, strict=True))

    def _is_free(self, name: str) -> bool:
        beside: dict[Point, int] = {}
        for point in self.points:
            rest = frozenset(item for item in point if item[0] != name)
            if len(rest) == len(point):
                return False
            beside[rest] = beside.get(rest, 0) + 1
        return all(count == len(self._values[name]) for count in beside.values())


def _dimension(name: str, values: Sequence[Value]) -> Any:
    """The values as a list, or as a range if they are many and in equal steps."""
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) < max(LONG, len(values)):
        return list(values)
    low, high = min(numbers), max(numbers)
    step = float(f"{(high - low) / (len(numbers) - 1):.12g}")
    written = {"low": low, "high": high, "log": False, "step": int(step) if step == int(step) else step}
    spec = all_specs()[name]
    try:
        same = set(points(spec, read_dimension(spec, written, ()))) == set(numbers)
    except Fault:
        return list(values)
    return written if same else list(values)


def _names(bundles: Sequence[Mapping[str, Value]], labels: Sequence[tuple[str, ...]]) -> list[str]:
    """A name for each bundle: of its groups if these tell them apart, else of its values; of numbers only where they
    are needed for it."""
    shared = set.intersection(*map(set, labels))
    grouped = [_slug("-".join(label for label in each if label not in shared)) for each in labels]
    if all(map(_fits, grouped)) and len(set(grouped)) == len(grouped):
        return grouped
    told = list(dict.fromkeys(name for bundle in bundles for name in bundle))
    named = _named(bundles, told)
    for name in told:
        shorter = _named(bundles, [other for other in told if other != name])
        if not any(isinstance(bundle.get(name), str) for bundle in bundles) and len(set(shorter)) == len(shorter):
            told, named = [other for other in told if other != name], shorter
    fits = [_fits(name) and named.count(name) == 1 for name in named]
    return [name if fit else f"bundle-{index}" for index, (name, fit) in enumerate(zip(named, fits, strict=True), 1)]


def _named(bundles: Sequence[Mapping[str, Value]], told: Sequence[str]) -> list[str]:
    return [_slug("-".join(_word(name, bundle[name]) for name in told if name in bundle)) for bundle in bundles]


def _word(name: str, value: Value) -> str:
    if isinstance(value, str):
        return value
    short = name.rpartition(".")[2]
    return (short if value else f"no_{short}") if isinstance(value, bool) else f"{short}_{value:g}"


def _fits(name: str) -> bool:
    return is_name(name) and name != TAKEN


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "_", text.lower()).strip("_-")
