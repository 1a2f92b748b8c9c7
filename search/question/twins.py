"""Values of a study file that are two names of one training."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from tunemax.gpt.config import Config
from tunemax.gpt.fields import Choices, Value
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import Dimension, Space, shown, tried

Fixed = Mapping[str, Value]


def twin_siblings(definition: StudyDefinition) -> dict[int, int]:
    """Places in `compare` whose value trains what one before it does, with the place of that one: it would be tuned
    twice."""
    siblings, twins = list(definition.siblings().values()), dict[int, int]()
    for one, other in itertools.combinations(range(len(siblings)), 2):
        spaces = definition.space_of(siblings[one]), definition.space_of(siblings[other])
        if other not in twins and spaces[0] == spaces[1] and _same(spaces[0], siblings[one], siblings[other]):
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

    def identities(fixed: Fixed) -> Iterator[tuple[Mapping[str, Value], str]]:
        return ((chosen, Config.of({**fixed, **chosen}).identity) for chosen in tried(space, fixed))

    return all(a == b for a, b in itertools.zip_longest(identities(one), identities(other)))
