"""The single environment: resets, instances, states, renderings, and arguments that cannot be."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest

import tunemax.envs  # noqa: F401 - registers the ids
from tunemax.envs.environment import Steer
from tunemax.envs.instances import Instance
from tunemax.gpt.errors import TunemaxError

Rollout = list[tuple[Any, ...]]
Tiny = partial(Steer, name="tunemax/Tiny-v1")


def test_any_declared_controls_can_be_steered(short: dict[str, Any], roll: Callable[..., Rollout]) -> None:
    config = {"softmax_variant": "polymax", "n_layer": 1, "n_embd": 8, "block_size": 8, "dropout": 0.1}
    env = gymnasium.make(
        "tunemax/Steer-v1", controls=["polymax.power", "dropout", "weight_decay"], config=config, **short
    )
    observation, info = env.reset(seed=1)
    assert observation.shape == (26,)
    assert list(info["controls"]) == ["polymax.power", "dropout", "weight_decay"]
    assert roll(env, 1)[-1][2]


def test_an_instance_is_chosen_by_index_or_given(short: dict[str, Any]) -> None:
    env = Tiny(set="test", **short)
    observation, info = env.reset(options={"instance": 3})
    assert info["instance"] == "test/3"
    assert np.array_equal(env.reset(seed=9, options={"instance": np.int64(3)})[0], observation)
    own = Instance("mine", 1, (0.0, 1.0), 8, {"learning_rate": 0.02})
    _, info = env.reset(options={"instance": own})
    assert (info["instance"], info["controls"]["learning_rate"]) == ("mine", 0.02)
    env.step(np.zeros(2))
    assert env.step(np.zeros(2))[2], "its own horizon"
    assert env.reset(seed=4)[1]["instance"] == env.reset(seed=4)[1]["instance"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"instanc": 3}, r"options\['instanc'\]: no such option; did you mean `instance`"),
        ({"instance": 10**6}, "instance = 1000000: expected a whole number from 0 to 4095"),
        ({"instance": "test/3"}, "instance = test/3: expected a whole number"),
        ({"instance": Instance("odd", 1, (0.0, 1.0), 7)}, "horizon = 7: not a multiple of frame_skip"),
        ({"instance": Instance("odd", 1, (0.5, 0.5), 8)}, "data_start = 0.5 is not before data_end = 0.5"),
        (
            {"instance": Instance("odd", 1, (0.5, 0.5 + 1e-7), 8)},
            "instance odd: its part of python_stdlib has . tokens, and a window needs 9",
        ),
    ],
)
def test_impossible_resets_are_refused(options: dict[str, Any], message: str, short: dict[str, Any]) -> None:
    with pytest.raises(TunemaxError, match=message):
        Tiny(**short).reset(options=options)


def test_a_refused_reset_or_action_leaves_the_training_as_it_was(short: dict[str, Any]) -> None:
    env, twin = Tiny(**short), Tiny(**short)
    for each in (env, twin):
        each.reset(seed=1)
    with pytest.raises(TunemaxError):
        env.reset(options={"instance": -1})
    with pytest.raises(TunemaxError, match="expected finite numbers"):
        env.step(np.array([np.nan, 0.0]))
    with pytest.raises(TunemaxError, match="action of shape"):
        env.step(np.zeros(3))
    assert env.step(np.zeros(2))[1] == twin.step(np.zeros(2))[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"set": "tset"}, "set = tset: no such set"),
        ({"render_mode": "human"}, "render_mode = human: expected one of rgb_array, ansi"),
        ({"controls": "n_layer"}, "control n_layer: cannot change while a training runs"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TunemaxError, match=message):
        Steer(**arguments)


def test_an_unknown_id_is_told_by_gymnasium() -> None:
    with pytest.raises(gymnasium.error.NameNotFound, match="Did you mean"):
        gymnasium.make("tunemax.envs:tunemax/Constantmx-v1")


def test_a_state_of_before_the_first_reset_can_be_set(short: dict[str, Any]) -> None:
    env = Tiny(**short)
    fresh = env.get_state()
    env.reset(seed=1)
    env.set_state(fresh)
    with pytest.raises(TunemaxError, match="no training has begun"):
        env.step(np.zeros(2))


# ---- renderings ------------------------------------------------------------------------------------------------------


def test_a_picture_shows_the_training_and_is_new_each_time(short: dict[str, Any], roll: Callable[..., Rollout]) -> None:
    env = Tiny(render_mode="rgb_array", **short)
    env.reset(seed=1)
    frames = [env.render()]
    for _ in range(3):
        env.step(np.array([1.0, -1.0]))
        frames.append(env.render())
    assert {(f.shape, f.dtype) for f in frames} == {((480, 720, 3), np.dtype(np.uint8))}
    halves = [
        (slice(28, 254), slice(0, 360)),
        (slice(28, 254), slice(360, 720)),
        (slice(254, 480), slice(0, 360)),
        (slice(254, 480), slice(360, 720)),
    ]
    for before, after in itertools.pairwise(frames):
        assert all((before[rows, columns] != after[rows, columns]).any() for rows, columns in halves)


def test_a_picture_does_not_move_the_training(short: dict[str, Any]) -> None:
    seen, unseen = Tiny(render_mode="rgb_array", **short), Tiny(**short)
    for env in (seen, unseen):
        env.reset(seed=1)
    for _ in range(3):
        seen.render()
        assert np.array_equal(seen.step(np.ones(2))[0], unseen.step(np.ones(2))[0])


@pytest.mark.parametrize(
    "arguments", [{"controls": ["learning_rate"], "config": {"softmax_variant": "softmax"}}, {"action": "absolute"}]
)
def test_every_kind_of_training_can_be_drawn(arguments: dict[str, Any], short: dict[str, Any]) -> None:
    env = Tiny(render_mode="rgb_array", **arguments, **short)
    env.reset(seed=1)
    env.step(env.action_space.sample())
    assert env.render().shape == (480, 720, 3)


def test_a_line_says_where_it_stands(short: dict[str, Any]) -> None:
    env = Tiny(render_mode="ansi", set="test", **short)
    _, info = env.reset(options={"instance": 0})
    assert env.render().startswith(f"test/0  0/12  loss {info['loss']:.4f}  learning_rate ")
    for _ in range(3):
        *_, info = env.step(np.zeros(2))
    assert env.render().endswith(f"finished  test {info['test_loss']:.4f}")
    assert Tiny(**short).render() is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vary": 3}, "vary = 3: expected names with values"),
        ({"disturb": ["text"]}, r"disturb = \['text'\]: expected names with values"),
        ({"config": "n_embd"}, "config = n_embd: expected names with values"),
        ({"controls": 3}, "controls = 3: expected names of fields"),
        ({"controls": [1]}, r"controls = \[1\]: expected names of fields"),
        ({"config": {"max_iters": 30}}, "max_iters: has no effect in an environment; an episode's iterations are its"),
        ({"config": {"seed": 30}}, "seed: has no effect in an environment; every instance has its own"),
        ({"config": {"eval_slice": "test"}}, "eval_slice: has no effect in an environment; rewards are measured on"),
        ({"vary": {"eval_tokens": [64, 128]}}, "vary eval_tokens: trainings of a task cannot differ in it; leave it"),
    ],
)
def test_arguments_that_say_nothing_are_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TunemaxError, match=message) as refused:
        gymnasium.make("tunemax.envs:tunemax/Tiny-v1", **arguments)
    assert "\n" not in str(refused.value)


def test_options_are_names_with_values(short: dict[str, Any]) -> None:
    env = gymnasium.make("tunemax.envs:tunemax/Tiny-v1", **short).unwrapped
    with pytest.raises(TunemaxError, match="options = 3: expected names with values, such as instance"):
        env.reset(options=3)  # type: ignore[arg-type]
