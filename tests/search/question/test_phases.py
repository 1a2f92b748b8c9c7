"""Trials are compared in equal phases of their learning rates, or the study is refused with the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.definition import StudyDefinition

Defined = Callable[..., StudyDefinition]
COOLED = {"name": "asha", "cooled": True}
RATE = {"learning_rate": "default"}


@pytest.mark.parametrize("pruner", ["median", "asha"])
@pytest.mark.parametrize(
    ("space", "base", "told"),
    [
        ({"schedule": ["cosine", "wsd"]}, {}, "space.schedule: the pruner would compare trials in different phases"),
        ({"schedule": "default", "decay_fraction": "default"}, {}, "space.schedule"),
        (
            {"decay_fraction": "default"},
            {"schedule": "wsd"},
            "space.decay_fraction: .*fix decay_fraction in base, or write pruner: none, or cool",
        ),
        ({"warmup_fraction": {"low": 0, "high": 0.3}}, {"schedule": "linear"}, "space.warmup_fraction"),
        ({"warmup_fraction": [0.1, 0.5]}, {"schedule": "constant"}, "space.warmup_fraction"),
    ],
)
def test_other_phases_at_a_rung_are_refused(defined: Defined, pruner: str, space: Any, base: Any, told: str) -> None:
    with pytest.raises(TunemaxError, match=told):
        defined(space=space | RATE, base=base, pruner=pruner, budget={"horizon": 300})
    assert defined(space=space | RATE, base=base, pruner="none").pruner.name == "none"


@pytest.mark.parametrize(
    ("space", "base"),
    [
        ({"warmup_fraction": {"low": 0, "high": 0.3}}, {"schedule": "wsd"}),  # over before the first rung
        ({"warmup_fraction": {"low": 0, "high": 0.3}}, {"schedule": "constant"}),
        ({"min_lr_ratio": "default"}, {}),  # how far it decays, not when
        ({"schedule": ["constant", "wsd"]}, {"decay_fraction": 0.0}),  # one and the same
    ],
)
def test_equal_phases_from_the_first_rung_on_are_fine(defined: Defined, space: Any, base: Any) -> None:
    assert defined(space=space | RATE, base=base, pruner="median", budget={"horizon": 300}).pruner.name == "median"


def test_each_schedule_may_have_a_study_of_its_own(defined: Defined) -> None:
    assert len(defined(per="schedule", compare=None, pruner="median").siblings()) == 4


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "pruner.cooled: needs schedule: wsd in base, since a branch leaves a stable rate; it is linear"),
        (
            {"space": RATE | {"schedule": ["wsd", "linear"]}},
            "pruner.cooled: needs schedule: wsd in base, .*; it is linear",
        ),
        (
            {"base": {"schedule": "wsd", "warmup_fraction": 0.3}},
            r"branch to rung 100 decays from iteration 80 \(decay_fraction 0.2\), "
            r"but the warm-up ends at 90 \(warmup_fraction 0.3\)",
        ),
        (
            {"base": {"schedule": "wsd", "warmup_fraction": 0.05}, "space": RATE | {"decay_fraction": [0.1, 0.95]}},
            "decays from iteration 5 .* the warm-up ends at 15",
        ),
        (
            {"base": {"schedule": "wsd", "decay_fraction": 0.01}},
            "decays from iteration 99 .*, which is too short to decay; take a longer",
        ),
        (
            {"base": {"schedule": "wsd"}, "budget": {"horizon": 9}},
            "the branch to rung 3 .*, which is too short to decay; take a longer",
        ),
    ],
)
def test_a_cooled_rung_that_no_decay_can_reach_is_refused(defined: Defined, more: dict[str, Any], told: str) -> None:
    with pytest.raises(TunemaxError, match=told):
        defined(**{"pruner": COOLED, "budget": {"horizon": 300}, **more})


def test_a_decay_may_be_searched_where_each_ends_at_the_rung(defined: Defined) -> None:
    study = defined(
        pruner=COOLED,
        base={"schedule": "wsd", "warmup_fraction": 0.05},
        space=RATE | {"decay_fraction": "default"},
        budget={"horizon": 300},
    )
    assert study.pruner.cooled_rungs(300) == (100, 200)
