"""Defaults of their time: what a field meant that is not named in something stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunemax.gpt.fields import Choices, Range

SCHEMA = 5
"""Of definitions, scenes and whatever else names only some fields, as they are made now. What is stored without a
number is of schema 1."""

UNTIL: Mapping[int, Mapping[str, Any]] = {
    1: {"eval_by": "windows"},
    2: {
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "warmup_fraction": 0.05,
        "grad_clip": 1.0,
        "init_std": 0.02,
    },
    3: {},
    4: {},
}
"""By the last schema that had them: defaults that have changed since. Nothing is ever taken out of here."""
SEARCHED_UNTIL: Mapping[int, Mapping[str, Range | Choices]] = {
    2: {
        "learning_rate": Range(1e-4, 3e-2, log=True),
        "warmup_fraction": Range(0.0, 0.3),
        "grad_clip": Range(0.1, 10, log=True),
    },
    3: {"position": Choices(("learned", "rotary")), "norm_position": Choices(("pre", "post"))},
    4: {
        "softmax_variant": Choices(
            ("constantmax", "softmax", "softermax", "sigsoftmax", "sigsoftmax_base2", "polymax", "strongermax")
        )
    },
}
"""The same of the range that a study file means by `default`."""


def defaults_of(schema: int) -> dict[str, Any]:
    """The defaults of a schema that are others now, by flat name; none for today's.

    Of a default that has changed more than once, that holds which was the next to change.
    """
    later = [until for until in sorted(UNTIL) if until >= schema]
    return {name: value for until in reversed(later) for name, value in UNTIL[until].items()}


def searched_in(schema: int) -> dict[str, Range | Choices]:
    """The default ranges of a schema that are others now, by flat name; none for today's."""
    later = [until for until in sorted(SEARCHED_UNTIL) if until >= schema]
    return {name: searched for until in reversed(later) for name, searched in SEARCHED_UNTIL[until].items()}


def of_their_time(whole: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration that has all fields of its time, with those of later: at what they would have been."""
    return {**defaults_of(1), **whole}
