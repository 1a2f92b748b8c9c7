"""The share of a member's own text as a control: an agent may raise it, and lower it to 0 again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from tunemax.envs.instances import find_set
from tunemax.envs.steering import Steering
from tunemax.envs.task import Task
from tunemax.gpt.errors import TunemaxError

Make = Callable[..., Task]
OWN: dict[str, Any] = {"feedback_every": 3, "feedback_pool": 4, "feedback_share": 0.2}
STEERED: dict[str, Any] = {"controls": ["learning_rate", "feedback_share"], "config": OWN}


def test_an_action_moves_the_share_and_the_member_writes(tiny: Make) -> None:
    steering = Steering(tiny(**STEERED))
    steering.start({0: find_set("train").draw(steering.task, 0)})
    (trainer,) = steering._pool
    (member,) = trainer.members
    before = member.values["feedback_share"]
    done = steering.advance({0: [0, 1]})[0]
    assert member.values["feedback_share"] > before > 0
    assert done.info["controls"]["feedback_share"] == pytest.approx(member.values["feedback_share"])
    assert member.pool is not None
    assert member.pool.iteration == 3
    for _ in range(2):
        steering.advance({0: [0, -1]})
    assert member.values["feedback_share"] < before


def test_states_go_on_alike_and_a_vector_is_single_ones(short: dict[str, Any], assert_equal: Any, roll: Any) -> None:
    arguments = {**STEERED, **short}
    many = gymnasium.make_vec("tunemax.envs:tunemax/Tiny-v1", num_envs=2, **arguments)
    singles = [gymnasium.make("tunemax/Tiny-v1", **arguments) for _ in range(2)]
    many.reset(seed=2)
    for i, single in enumerate(singles):
        single.reset(seed=2 + i)
    actions = many.action_space.sample()
    together = many.step(actions)
    for i, single in enumerate(singles):
        observation, reward, *_ = single.step(actions[i])
        assert_equal(observation, together[0][i])
        assert reward == together[1][i]
    single = singles[0].unwrapped
    fork = single.fork()  # type: ignore[attr-defined]
    assert_equal(roll(fork, 3), roll(single, 3))
    check_env(singles[1].unwrapped, skip_render_check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"controls": ["feedback_share"], "config": {"feedback_every": 12}},
            "feedback_every = 12: a training of 12 iterations ends before anything is written; take less than 12",
        ),
        (
            {"controls": ["learning_rate"], "config": {"feedback_share": 0.2}},
            "feedback_every = 100: a training of 12 iterations ends before anything is written; take less than 12",
        ),
        (
            {"controls": ["feedback_share"], "config": {"feedback_every": 3, "batch_size": 1}},
            "feedback_share = 0.5: leaves less than one window of the text in batch_size = 1; take 0, or a larger "
            "batch_size",
        ),
    ],
)
def test_what_could_never_come_to_anything_is_refused(tiny: Make, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TunemaxError) as refusal:
        tiny(**arguments)
    assert str(refusal.value) == message
