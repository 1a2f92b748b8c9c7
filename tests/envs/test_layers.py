"""Controls of single layers: each moves its own layer, and SGD moves none of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from tunemax.envs.instances import Instance, find_set
from tunemax.envs.rollouts import left_to_sgd
from tunemax.envs.steering import Steering
from tunemax.envs.task import Task
from tunemax.gpt import checkpoint
from tunemax.gpt.errors import TunemaxError

Make = Callable[..., Task]
DEEP = {"n_layer": 2, "n_head": 2}
BOTH = ("constantmax.gamma@0", "constantmax.gamma@1")


def gammas(steering: Steering) -> list[list[float]]:
    """γ as the model has it, a row a layer."""
    (trainer,) = steering._pool
    return trainer.learnables(trainer.members[0])["gamma"].tolist()


@pytest.mark.parametrize("sharing", ["layer", "head"])
def test_an_action_moves_its_layer_and_sgd_moves_none(sharing: str, tiny: Make) -> None:
    task = tiny(controls=[*BOTH, "learning_rate"], config={**DEEP, "constantmax.sharing": sharing})
    instance = find_set("train").draw(task, 0)
    steering = Steering(task)
    steering.start({0: instance})
    start = [instance.controls[name] for name in BOTH]
    assert start[0] != start[1]
    assert gammas(steering) == [pytest.approx([value] * (1 + (sharing == "head")), rel=1e-5) for value in start]
    steering.advance({0: [0, 1, 0]})
    done = steering.advance({0: [0, 0, 0]})[0]
    assert gammas(steering)[0] == pytest.approx([start[0]] * len(gammas(steering)[0]), rel=1e-5)
    assert gammas(steering)[1] == pytest.approx([1.5 * start[1]] * len(gammas(steering)[1]), rel=1e-5)
    assert done.info["controls"]["constantmax.gamma@1"] == pytest.approx(1.5 * start[1])
    seen = steering.features.raw(done.observation, "log_gamma_mean")
    assert seen == pytest.approx((math.log(start[0]) + math.log(1.5 * start[1])) / 2, rel=1e-4)


def test_states_go_on_alike_and_a_vector_is_single_ones(tiny: Make, short: dict[str, Any], assert_equal: Any) -> None:
    arguments: dict[str, Any] = {"controls": list(BOTH), "config": DEEP, **short}
    many = gymnasium.make_vec("tunemax.envs:tunemax/Tiny-v1", num_envs=3, **arguments)
    singles = [gymnasium.make("tunemax/Tiny-v1", **arguments) for _ in range(3)]
    many.reset(seed=2)
    for i, single in enumerate(singles):
        single.reset(seed=2 + i)
    many.action_space.seed(1)
    for step in range(3):
        actions = many.action_space.sample()
        forks = [single.unwrapped.fork() for single in singles]  # type: ignore[attr-defined]
        expected = many.step(actions)[0]
        for i in range(3):
            assert_equal(singles[i].step(actions[i])[0], expected[i])
            assert_equal(forks[i].step(actions[i])[0], expected[i])
        assert step < 2 or not np.array_equal(expected[0], expected[1])


def test_a_checkpoint_has_the_value_of_each_layer(tmp_path: Path, tiny: Make) -> None:
    task = tiny(controls=BOTH, config=DEEP)
    steering = Steering(task)
    steering.start({0: find_set("train").draw(task, 0)})
    steering.advance({0: [0.5, -0.5]})
    (trainer,) = steering._pool
    snapshot = trainer.snapshot(trainer.members[0])
    checkpoint.save(snapshot, tmp_path / "there", "abc")
    assert checkpoint.load(tmp_path / "there").values == snapshot.values
    trainer.set(trainer.members[0], "constantmax.gamma", 50.0)
    assert gammas(steering) == [pytest.approx([50.0])] * 2
    assert not [name for name in trainer.members[0].values if "@" in name], "all layers have it now"


def test_left_to_sgd_each_layer_learns_from_where_it_starts(tiny: Make) -> None:
    task = tiny(controls=BOTH, config={**DEEP, "variant_lr_ratio": 10})
    chosen = find_set("train").draw(task, 0)
    (outcome,) = left_to_sgd(task, [chosen])
    first, last = outcome.history[0].log_gamma, outcome.history[-1].log_gamma
    assert first == pytest.approx([math.log(chosen.controls[name]) for name in BOTH], rel=1e-5)
    assert abs(first[0] - last[0]) > 1e-3


def test_both_checkers_have_nothing_to_say(short: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make("tunemax.envs:tunemax/Tiny-v1", controls=list(BOTH), config=DEEP, **short).unwrapped
        check_env(env, skip_render_check=True)
        check_env_for_sb3(env)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"controls": ["constantmax.gamma@2"]},
            "control constantmax.gamma@2: no such layer; expected constantmax.gamma",
        ),
        ({"controls": ["constantmax.gamma@x"]}, "control constantmax.gamma@x: no such layer"),
        ({"controls": ["constantmax.gama@0"]}, "constantmax.gama: no such field; did you mean `constantmax.gamma`"),
        ({"controls": ["learning_rate@0"]}, "control learning_rate@0: all layers share learning_rate"),
        ({"controls": ["constantmax.gamma", "constantmax.gamma@0"]}, "two of them move constantmax.gamma"),
        ({"controls": ["gain", "constantmax.gamma@0"]}, "two of them move constantmax.gamma"),
        ({"controls": ["constantmax.gamma@0"] * 2}, "control constantmax.gamma@0: given twice"),
        ({"controls": ["constantmax.gamma@0", "variant_lr_ratio"]}, "two of them move variant_lr_ratio"),
        ({"config": {**DEEP, "constantmax.learn_gamma": False}}, "control constantmax.gamma@0: all layers share"),
        ({"config": {**DEEP, "softmax_variant": "softmax"}}, "control constantmax.gamma: means nothing"),
        (
            {"controls": ["constantmax.gamma@0"], "config": {}, "vary": {"n_layer": [1, 2]}},
            "control constantmax.gamma@0: of a layer, and n_layer = 2; let all trainings have 1",
        ),
        ({"vary": {"variant_lr_ratio": [1, 2]}}, "vary variant_lr_ratio: it is steered"),
        ({"vary": {"constantmax.gamma": [1, 2]}}, "vary constantmax.gamma: it is steered"),
    ],
)
def test_what_no_layer_has_is_refused_in_one_line(arguments: dict[str, Any], message: str, tiny: Make) -> None:
    with pytest.raises(TunemaxError, match=message) as caught:
        tiny(**{"controls": BOTH, "config": DEEP, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        (Instance("odd", 1, (0, 1), 12, size={"n_layer": 4}), "instance odd: control constantmax.gamma@0: of a layer"),
        (Instance("odd", 1, (0, 1), 12, {"constantmax.gamma@5": 1.0}), "instance odd: control constantmax.gamma@5: no"),
        (Instance("odd", 1, (0, 1), 12, {"constantmax.gamma@1": -1.0}), "instance odd: constantmax.gamma = -1: expect"),
    ],
)
def test_an_instance_of_another_depth_is_refused(instance: Instance, message: str, tiny: Make) -> None:
    steering = Steering(tiny(controls=BOTH, config=DEEP))
    with pytest.raises(TunemaxError, match=message):
        steering.start({0: instance})
    assert not steering.begun(0)
