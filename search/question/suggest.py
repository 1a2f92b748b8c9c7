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


def suggest(trial: BaseTrial, definition: StudyDefinition, fixed: Mapping[str, Value]) -> dict[str, Value]:
    """The flat values of one trial of the sibling with these fixed values, ready for `Config.of`.

    Asks the trial for each dimension that means something beside what was chosen before; the others are never sampled.
    """
    specs = all_specs()
    values = definition.begin(fixed)
    chosen = dict(fixed)
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

    A baseline is the default of every dimension with the variant's known settings on top. A setting that the space
    cannot reach drops its baseline; a default outside its range is left to the sampler.
    """
    if definition.sampler.is_grid:
        return list(combinations(definition.space, fixed, points))
    specs, dimensions = all_specs(), definition.dimensions(fixed)
    start = definition.begin(fixed)
    searched = dimensions.get("softmax_variant")
    chosen = searched.values if isinstance(searched, Choices) else (start["softmax_variant"],)
    known: list[dict[str, Any]] = []
    for variant in map(str, chosen):
        for settings in find_variant(variant).baselines:
            named = {"softmax_variant": variant, **{f"{variant}.{name}": value for name, value in settings.items()}}
            values: dict[str, Value] = {**start, **named}
            active = {name: dim for name, dim in dimensions.items() if specs[name].active(values)}
            params = {name: values[name] for name, dim in active.items() if contains(dim, values[name])}
            reachable = all(
                contains(dimensions[name], value) if name in dimensions else start[name] == value
                for name, value in named.items()
            )
            if reachable and params and params not in known:
                known.append(params)
    return known


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
