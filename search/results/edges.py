"""Winners at an end of what was searched: a better value may lie beyond it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import log
from typing import Any, Literal

import annotated_types

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Choices, FieldSpec, Range, Value
from tunemax.search.question.dimension import OWNED, Dimension, Space
from tunemax.search.results.order import enumerated

NEAR = 0.02
"""So near to an end, as a share of the range (of its logarithm, if it is searched so), a value lies at it."""
FEW = 3
"""A dimension of fewer values has nothing but ends."""
MOST_WIDER = 10.0
"""An end on a log scale is moved by a factor of at most this."""

Side = Literal["lower", "upper"]


@dataclass(frozen=True)
class Edge:
    """A value of a winner that lies at an end of its range, though the field goes on there."""

    candidate: str
    field: str
    value: float
    side: Side
    searched: Dimension
    wider: Dimension
    """What to search next."""


def edges(candidate: str, config: Mapping[str, Any], space: Space) -> tuple[Edge, ...]:
    """Where a winner lies at an end of its ranges. config: all its fields, flat."""
    found = []
    for name, dimension in space.items():
        spec, value = all_specs()[name], config.get(name)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or name in OWNED or not spec.active(config):
            continue
        side = _side(value, dimension)
        end = _beyond(spec, dimension, side) if side else None
        if side and end is not None and _possible(config, name, end):
            found.append(Edge(candidate, name, value, side, dimension, _wider(dimension, side, end)))
    return tuple(found)


def sentences(found: Iterable[Edge]) -> list[str]:
    """One for each end, with all candidates whose winners lie at it."""

    def end(edge: Edge) -> tuple[str, str]:
        return edge.field, edge.side

    told = []
    for (field, side), group in groupby(sorted(found, key=end), key=end):
        same = list(group)
        whose = enumerated([f"{edge.candidate} ({edge.value:.3g})" for edge in same])
        lies = f"{field} of the best {whose} lies at the {side} end of what was searched, {written(same[0].searched)}"
        told.append(f"{lies}; try {field}: {written(same[0].wider)} in a new study.")
    return told


def written(dimension: Dimension) -> str:
    """As a study file has it."""
    if isinstance(dimension, Choices):
        return f"[{', '.join(map(_number, dimension.values))}]"
    more = ", log: true" if dimension.log else f", step: {_number(dimension.step)}" if dimension.step else ""
    return f"{{low: {_number(dimension.low)}, high: {_number(dimension.high)}{more}}}"


def _number(value: Value | None) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _side(value: float, dimension: Dimension) -> Side | None:
    """At which end of the dimension a value lies."""
    if isinstance(dimension, Choices):
        numbers = sorted(_numbers(dimension))
        if len(numbers) < FEW or value not in (numbers[0], numbers[-1]):
            return None
        return "lower" if value == numbers[0] else "upper"
    low, high = dimension.low, dimension.high
    if dimension.step and (high - low) / dimension.step < FEW - 1.5:
        return None
    place = log(value / low) / log(high / low) if dimension.log else (value - low) / (high - low)
    return "lower" if place <= NEAR else "upper" if place >= 1 - NEAR else None


def _numbers(choices: Choices) -> list[float]:
    """The choices if all are numbers, else none."""
    plain = [value for value in choices.values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    return [float(value) for value in plain] if len(plain) == len(choices.values) else []


def _beyond(spec: FieldSpec, dimension: Dimension, side: Side) -> float | None:
    """How far to search next on this side; None if the field ends there, or goes on by next to nothing."""
    upper = side == "upper"
    away = 1 if upper else -1
    if isinstance(dimension, Choices):
        numbers = sorted(_numbers(dimension), reverse=not upper)
        end, wanted, least = numbers[-1], _next(numbers), 0.0
    else:
        low, high, step = dimension.low, dimension.high, dimension.step
        end = high if upper else low
        if dimension.log:
            wanted = float(f"{end * min(MOST_WIDER, max(2.0, (high / low) ** 0.5)) ** away:.3g}")
            least = end * abs((high / low) ** (NEAR * away) - 1)
        else:
            width = (high - low) / 2 if step is None else step * max(1, round((high - low) / step / 2))
            wanted, least = end + away * width, NEAR * (high - low)
            wanted = 0.0 if abs(wanted) < 1e-9 * width else wanted  # 0.2 less half of 0.6 - 0.2 is not quite 0
    reached = _clipped(spec, end, wanted, upper)
    if isinstance(dimension, Range) and dimension.step:
        reached = end + away * dimension.step * int(abs(reached - end) / dimension.step + 1e-9)
    if spec.annotation is int:
        reached = float(round(reached))
    grown = away * (reached - end)
    return reached if grown >= least and grown > 0 else None


def _next(numbers: Sequence[float]) -> float:
    """What follows numbers that rise or fall: by the last factor if they span a decade or have one factor, else by the
    last difference."""
    if all(number > 0 for number in numbers):
        factors = [after / before for before, after in pairwise(numbers)]
        if max(factors) < 1.01 * min(factors) or max(numbers) >= 10 * min(numbers):
            return float(f"{numbers[-1] * factors[-1]:.12g}")
    return numbers[-1] + (numbers[-1] - numbers[-2])


def _clipped(spec: FieldSpec, end: float, wanted: float, upper: bool) -> float:
    """As far as the field allows; half-way to a limit that it may not reach."""
    for bound in spec.info.metadata:
        if upper and isinstance(bound, annotated_types.Le):
            wanted = min(wanted, float(bound.le))  # type: ignore[arg-type]
        if not upper and isinstance(bound, annotated_types.Ge):
            wanted = max(wanted, float(bound.ge))  # type: ignore[arg-type]
        if upper and isinstance(bound, annotated_types.Lt) and wanted >= float(bound.lt):  # type: ignore[arg-type]
            wanted = (end + float(bound.lt)) / 2  # type: ignore[arg-type]
        if not upper and isinstance(bound, annotated_types.Gt) and wanted <= float(bound.gt):  # type: ignore[arg-type]
            wanted = (end + float(bound.gt)) / 2  # type: ignore[arg-type]
    return wanted


def _possible(config: Mapping[str, Any], name: str, value: float) -> bool:
    """Whether the winner could be trained with this value, which other fields may forbid."""
    typed = int(value) if all_specs()[name].annotation is int else value
    try:
        Config.stored({**config, name: typed})
    except TunemaxError:
        return False
    return True


def _wider(dimension: Dimension, side: Side, end: float) -> Dimension:
    upper = side == "upper"
    if isinstance(dimension, Choices):
        added = int(end) if isinstance(dimension.values[0], int) else end
        rising = float(dimension.values[-1]) > float(dimension.values[0])
        return Choices((*dimension.values, added) if upper == rising else (added, *dimension.values))
    return replace(dimension, high=end) if upper else replace(dimension, low=end)
