"""What would calm a candidate whose runs fall into two modes."""

from __future__ import annotations

from typing import Any

import pytest

from tunemax.gpt.config import Config
from tunemax.search.results.calming import CALM, calming

RECIPE = {"warmup_fraction": 0.2, "grad_clip": 0.25, "init_std": 0.0, "n_embd": 64, "learning_rate": 0.008}
"""Calm in every field."""


def advice(**fields: Any) -> str:
    return calming("polymax", Config.of({**RECIPE, **fields}).flat())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"warmup_fraction": 0.05}, "A longer warm-up (warmup_fraction 0.2; now 0.05)"),
        ({"warmup_fraction": 0.0}, "A longer warm-up (warmup_fraction 0.2; now 0)"),
        ({"grad_clip": 1.0}, "A smaller grad_clip (0.25; now 1)"),
        ({"grad_clip": 0.0}, "A smaller grad_clip (0.25; now off)"),
        ({"init_std": 0.02}, "Wider initial weights (init_std 0; now 0.02)"),
        (
            {"warmup_fraction": 0.05, "grad_clip": 1.0, "init_std": 0.02},
            "Wider initial weights (init_std 0; now 0.02), a longer warm-up (warmup_fraction 0.2; now 0.05), "
            "a smaller grad_clip (0.25; now 1)",
        ),
    ],
)
def test_what_is_far_from_calm_is_named_with_its_values(fields: dict[str, Any], expected: str) -> None:
    assert advice(**fields) == f"{expected} or a lower learning rate may calm polymax."


@pytest.mark.parametrize(
    "beyond", [{}, {"warmup_fraction": 0.3, "grad_clip": 0.1, "init_std": 0.2}, {"init_std": 0.06}]
)
def test_where_all_is_calm_half_the_rate_is_left(beyond: dict[str, Any]) -> None:
    assert advice(**beyond) == "A lower learning rate (0.004; now 0.008) may calm polymax."


@pytest.mark.parametrize("calm", CALM, ids=lambda calm: calm.field)
def test_nobody_is_advised_to_go_where_a_field_already_is(calm: Any) -> None:
    assert calm.reached(calm.value)
    worse = calm.value / 2 if calm.upwards else calm.value * 2
    assert not calm.reached(worse)
