"""Trainings of agents that take a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tunemax.envs.agents import hyperparameters
from tunemax.envs.agents.scene import Scene
from tunemax.envs.agents.training import Plan

QUICK: dict[str, Any] = {"batch_size": 16}
OFF_POLICY: dict[str, Any] = {**QUICK, "warmup_episodes": 4, "buffer_size": 60}
"""The buffer wraps within four rounds."""


@pytest.fixture
def plan(short: dict[str, Any]) -> Callable[..., Plan]:
    """Four rounds of four trainings of three steps; keywords change it."""

    def make(algorithm: str = "sac", scene: dict[str, Any] | None = None, **changes: Any) -> Plan:
        action = "discrete" if algorithm == "dqn" else "box"
        preset = hyperparameters.load(algorithm).changed(**(QUICK if algorithm == "ppo" else OFF_POLICY))
        made = {
            "seed": 1,
            "steps": 48,
            "envs": 4,
            "round": 1,
            "validation": 2,
            "checked": 2,
            "preset": preset,
            **changes,
        }
        return Plan(
            Scene.of("Tiny-v1", **{"action": action, **short, **(scene or {})}),
            hyperparameters.checked(algorithm),
            **made,
        )

    return make
