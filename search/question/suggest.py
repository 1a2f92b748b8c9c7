"""The search space of a sibling study as Optuna sees it, and the trials whose parameters are known beforehand.

A parameter's name is the flat name of its field. Optuna refuses another kind, scale or list of choices under a name
that the study already has, which is why a comparison that may grow is several sibling studies and not one with a
choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from tunemax.gpt.config import all_specs
from tunemax.gpt.fields import Choices, FieldSpec, Value
from tunemax.gpt.softmax import find_variant
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import Dimension, combinations, contains, points
from tunemax.search.question.ladder import RATE, rungs


def suggest(trial: BaseTrial, definition: StudyDefinition, fixed: Mapping[str, Value]) -> dict[str, Value]:
    """The flat values of one trial of the sibling with these fixed values, ready for `Config.of`.

    Asks the trial for each dimension that means something beside what was chosen before; the others are never sampled.
    """
    specs = all_specs()
    values, chosen = definition.begin(fixed), dict(fixed)
    for name, dimension in definition.dimensions(fixed).items():
        if specs[name].active(values):
            values[name] = chosen[name] = _ask(trial, specs[name], dimension)
    return chosen


def distributions(definition: StudyDefinition, fixed: Mapping[str, Value]) -> dict[str, BaseDistribution]:
    """Optuna's distribution of every dimension of the sibling, those included that only some of its trials have."""
    specs = all_specs()
    return {name: _distribution(specs[name], dim) for name, dim in definition.dimensions(fixed).items()}


def known_points(definition: StudyDefinition, fixed: Mapping[str, Value]) -> list[dict[str, Any]]:
    """Parameters of the trials to enqueue first: all points of a grid, else the variants' known baselines.

    Where the learning rate is searched by a range, the first baseline comes once for each rung of the ladder, or all
    defaults do if no baseline can be reached. All others leave the rate out: it is the best that the ladder has found
    when they are taken. See `tunemax.search.question.ladder`.
    """
    if definition.sampler.is_grid:
        return list(combinations(definition.space_of(fixed), definition.begin(fixed), points))
    baselines, rates = _baselines(definition, fixed), rungs(definition, fixed)
    if not rates:
        return baselines
    variant = str(_variants(definition, fixed)[0])
    first, *others = map(_without_rate, baselines or [_point(definition, fixed, {"softmax_variant": variant})])
    return [*({**first, RATE: rate} for rate in rates), *filter(None, others)]


def _baselines(definition: StudyDefinition, fixed: Mapping[str, Value]) -> list[dict[str, Any]]:
    """The default of every dimension, with a variant's known settings on top.

    A setting that the space cannot reach drops its baseline; a default outside its range is left to the sampler.
    """
    start, dimensions = definition.begin(fixed), definition.dimensions(fixed)
    known: list[dict[str, Any]] = []
    for variant in map(str, _variants(definition, fixed)):
        for settings in find_variant(variant).baselines:
            named = {"softmax_variant": variant, **{f"{variant}.{name}": value for name, value in settings.items()}}
            params = _point(definition, fixed, named)
            reachable = all(
                contains(dimensions[name], value) if name in dimensions else start[name] == value
                for name, value in named.items()
            )
            if reachable and params and params not in known:
                known.append(params)
    return known


def _point(definition: StudyDefinition, fixed: Mapping[str, Value], named: Mapping[str, Value]) -> dict[str, Any]:
    """Of every dimension that means something then the value that is named, or its default; without those that it
    cannot have."""
    specs, values = all_specs(), {**definition.begin(fixed), **named}
    active = {name: dim for name, dim in definition.dimensions(fixed).items() if specs[name].active(values)}
    return {name: values[name] for name, dim in active.items() if contains(dim, values[name])}


def _variants(definition: StudyDefinition, fixed: Mapping[str, Value]) -> tuple[Value, ...]:
    """Those that the sibling's trials can have."""
    searched = definition.dimensions(fixed).get("softmax_variant")
    return searched.values if isinstance(searched, Choices) else (definition.begin(fixed)["softmax_variant"],)


def _without_rate(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != RATE}


def _ask(trial: BaseTrial, spec: FieldSpec, dimension: Dimension) -> Value:
    if isinstance(dimension, Choices):
        return cast(Value, trial.suggest_categorical(spec.name, dimension.values))  # none of them is None
    low, high, log, step = dimension.low, dimension.high, dimension.log, dimension.step
    if spec.annotation is int:
        return trial.suggest_int(spec.name, int(low), int(high), step=int(step or 1), log=log)
    return trial.suggest_float(spec.name, low, high, step=step, log=log)


def _distribution(spec: FieldSpec, dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    low, high, log, step = dimension.low, dimension.high, dimension.log, dimension.step
    if spec.annotation is int:
        return IntDistribution(int(low), int(high), log, int(step or 1))
    return FloatDistribution(low, high, log, step)
