"""What tests of environments share: the registered ids, and episodes that are over in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

from tunemax.envs.task import Task, task_of

SHORT: dict[str, Any] = {"horizon": 12, "frame_skip": 4, "windows": 4, "test_windows": 8}
"""Three steps of four iterations."""

Rollout = list[tuple[Any, ...]]


@pytest.fixture
def short() -> dict[str, Any]:
    return dict(SHORT)


@pytest.fixture
def tiny() -> Callable[..., Task]:
    """The task of Tiny-v1, short, with rewards in nats; keywords change it."""

    def make(**arguments: Any) -> Task:
        config = arguments.pop("config", {})
        short = {name: value for name, value in SHORT.items() if name not in arguments.get("vary", {})}
        return task_of("tunemax/Tiny-v1", config, **{**short, "reward_scale": 1.0, **arguments})

    return make


@pytest.fixture
def roll() -> Callable[..., Rollout]:
    """Steps with the actions that a seed gives, until the end or as many as asked."""

    def run(env: gymnasium.Env[Any, Any], seed: int, steps: int = 100) -> Rollout:
        env.action_space.seed(seed)
        seen: Rollout = []
        for _ in range(steps):
            seen.append(env.step(env.action_space.sample()))
            if seen[-1][2] or seen[-1][3]:
                break
        return seen

    return run


@pytest.fixture
def assert_equal() -> Callable[[Any, Any], None]:
    """Equal in every bit: numbers, arrays, and whatever holds them."""

    def check(one: Any, other: Any) -> None:
        assert type(one) is type(other)
        if isinstance(one, dict):
            assert one.keys() == other.keys()
            for name in one:
                check(one[name], other[name])
        elif isinstance(one, (list, tuple)):
            assert len(one) == len(other)
            for a, b in zip(one, other, strict=True):
                check(a, b)
        elif isinstance(one, np.ndarray):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)
        else:
            assert one == other

    return check
