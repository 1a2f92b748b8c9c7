"""Values of a study file that are two names of one training."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Choices, Value
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import Dimension, Space, shown, tried

Fixed = Mapping[str, Value]


def twin_siblings(definition: StudyDefinition) -> dict[int, int]:
    """Places of candidates that train what one before them does, with the place of that one: they would be tuned twice.
    Of two that search the same, whatever its ranges."""
    siblings, twins = list(definition.siblings().values()), dict[int, int]()
    dimensions = list(map(definition.dimensions, siblings))
    for one, other in itertools.combinations(range(len(siblings)), 2):
        alike = other not in twins and dimensions[one].keys() == dimensions[other].keys()
        if alike and _same(dimensions[one], siblings[one], siblings[other]):
            twins[other] = one
    return twins


def choices(dimension: Dimension) -> tuple[Value, ...]:
    return dimension.values if isinstance(dimension, Choices) else ()


def twin_choices(definition: StudyDefinition) -> list[str]:
    """Of two choices of a dimension that train the same thing whatever else is chosen, a sentence: a trial that repeats
    another is not trained, and still counts as a trial."""
    siblings, told = list(definition.siblings().values()), []
    for name, dimension in definition.space.items():
        spaces = [(fixed, definition.dimensions(fixed)) for fixed in siblings]
        for one, other in itertools.combinations(choices(dimension), 2):
            having = [fixed for fixed, own in spaces if name in own and {one, other} <= set(choices(own[name]))]
            if having and all(_twins(definition, fixed, name, one, other) for fixed in having):
                told.append(
                    f"space.{name}: {shown(other)} trains the same as {shown(one)} here; one of them is enough."
                )
    return told


def _twins(definition: StudyDefinition, fixed: Fixed, name: str, one: Value, other: Value) -> bool:
    """Whether two choices of a dimension make no difference in a sibling."""
    space = definition.space_of(fixed)
    rest = {other_name: dimension for other_name, dimension in space.items() if other_name != name}
    return _same(rest, {**fixed, name: one}, {**fixed, name: other})


def _same(space: Space, one: Fixed, other: Fixed) -> bool:
    """Whether these train the same thing at every point of a space. Almost always the first point tells."""

    def trained(fixed: Fixed) -> Iterator[tuple[Mapping[str, Value], str]]:
        return ((chosen, _identity({**fixed, **chosen})) for chosen in tried(space, fixed))

    return all(a == b for a, b in itertools.zip_longest(trained(one), trained(other)))


def _identity(fields: Fixed) -> str:
    try:
        return Config.of(fields).identity
    except TunemaxError:  # no trial can have this, which is told elsewhere
        return ""
