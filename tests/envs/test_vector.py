"""Many trainings in one model, for Gymnasium and for stable-baselines3."""

from __future__ import annotations

import pickle
import warnings
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from tunemax.envs.environment import Steer
from tunemax.envs.instances import Instance
from tunemax.envs.sb3 import SteerVecEnv
from tunemax.envs.vector import SteerVector
from tunemax.gpt.errors import TunemaxError

Tiny = partial(Steer, name="tunemax/Tiny-v1")
TinyVector = partial(SteerVector, name="tunemax/Tiny-v1")
STOP = np.zeros((3, 2), np.float32)


def test_gymnasiums_own_vector_of_single_environments_says_the_same(short: dict[str, Any], assert_equal: Any) -> None:
    ours = TinyVector(3, **short)
    theirs = SyncVectorEnv([lambda: Tiny(**short)] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
    assert ours.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert_equal(ours.reset(seed=3), theirs.reset(seed=3))
    theirs.action_space.seed(1)
    for _ in range(7):
        actions = theirs.action_space.sample()
        one, other = ours.step(actions), theirs.step(actions)
        assert_equal(one[:4], other[:4])
        assert_equal(_shown(one[4]), _shown(other[4]))


def _shown(infos: dict[str, Any]) -> dict[str, Any]:
    """Infos in a form that can be compared: arrays of objects as lists, in one order."""
    return {
        name: _shown(value)
        if isinstance(value, dict)
        else value.tolist()
        if value.dtype != object
        else [repr(each) for each in value]
        for name, value in sorted(infos.items())
    }


def test_without_autoreset_the_ended_wait_for_a_masked_reset(short: dict[str, Any]) -> None:
    env = gymnasium.make_vec("tunemax.envs:tunemax/Tiny-v1", num_envs=3, autoreset_mode="Disabled", **short)
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    longer = Instance("longer", 1, (0.0, 1.0), 16)
    env.reset(seed=1, options={"instance": [0, longer, 2]})
    for _ in range(3):
        observations, _, terminated, _, infos = env.step(STOP)
    assert terminated.tolist() == [True, False, True]
    assert "final_obs" not in infos
    with pytest.raises(TunemaxError, match="this episode has ended; call reset"):
        env.step(STOP)
    again, infos = env.reset(options={"reset_mask": np.array([True, False, True])})
    assert np.array_equal(again[1], observations[1])
    assert infos["_loss"].tolist() == [True, False, True]
    _, _, terminated, _, infos = env.step(STOP)
    assert terminated.tolist() == [False, True, False]
    assert infos["iteration"].tolist() == [4, 16, 4]


def test_seeds_and_instances_are_one_for_all_or_one_for_each(short: dict[str, Any]) -> None:
    env = TinyVector(3, set="test", **short)
    assert env.reset(options={"instance": 4})[1]["instance"].tolist() == ["test/4"] * 3
    names = env.reset(seed=[1, 2, 1], options={"instance": [7, None, None]})[1]["instance"]
    assert names[0] == "test/7"
    assert env.reset(seed=[5, 2, 1])[1]["instance"][1:].tolist() == names[1:].tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda env: env.reset(options={"reset_mask": np.zeros(3, bool)}),
            r"options\['reset_mask'\]: expected 3 booleans",
        ),
        (
            lambda env: env.reset(options={"reset_mask": np.ones(2, bool)}),
            r"options\['reset_mask'\]: expected 3 booleans",
        ),
        (lambda env: env.reset(options={"mask": 1}), r"options\['mask'\]: no such option"),
        (lambda env: env.reset(options={"instance": [1, 2]}), "instance: 2 values for 3 environments"),
        (lambda env: env.reset(seed=[1, 2]), "seed: 2 values for 3 environments"),
        (lambda env: env.step(np.zeros((2, 2))), r"actions of shape \(2, 2\): expected 3 actions"),
        (lambda env: env.step(np.zeros((3, 1))), r"action of shape \(1,\): expected \(2,\)"),
        (lambda env: env.step(np.full((3, 2), np.nan)), "expected finite numbers"),
        (
            lambda env: TinyVector(2, autoreset_mode="NextStep"),
            "autoreset_mode = NextStep: expected one of SameStep, Disabled",
        ),
        (lambda env: TinyVector(0), "num_envs = 0: expected a whole number"),
        (lambda env: SteerVecEnv(TinyVector(2, autoreset_mode="Disabled")), "stable-baselines3 needs SameStep"),
        (lambda env: SteerVecEnv(Tiny()), "Steer: not a vector environment of tunemax"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call: Any, message: str, short: dict[str, Any]) -> None:
    env = TinyVector(3, **short)
    env.reset(seed=1)
    with pytest.raises(TunemaxError, match=message) as caught:
        call(env)
    assert "\n" not in str(caught.value)


def test_to_step_before_a_reset_is_refused(short: dict[str, Any]) -> None:
    with pytest.raises(TunemaxError, match="no training has begun; call reset"):
        TinyVector(3, **short).step(STOP)


def test_copies_go_on_alike(short: dict[str, Any], assert_equal: Any) -> None:
    env = TinyVector(3, **short)
    env.reset(seed=1)
    env.step(STOP)
    copies = [pickle.loads(pickle.dumps(env)), env.fork()]
    single = Tiny(**short)
    single.set_state(env.get_state(1))
    alone = [single.step(STOP[1])[0] for _ in range(2)]
    for step in range(5):
        expected = env.step(STOP + 0.5 * (step > 1))
        for each in copies:
            assert_equal(each.step(STOP + 0.5 * (step > 1))[0], expected[0])
        if step == 0:
            assert_equal(expected[0][1], alone[0])


def test_each_environment_is_rendered(short: dict[str, Any]) -> None:
    env = SteerVector(2, render_mode="ansi", **short)
    env.reset(seed=1)
    lines = env.render()
    assert lines is not None
    assert len(set(lines)) == 2
    assert TinyVector(2, **short).render() is None


# ---- stable-baselines3 -----------------------------------------------------------------------------------------------


def test_sb3_sees_what_its_own_vector_of_single_environments_shows(short: dict[str, Any], assert_equal: Any) -> None:
    ours = SteerVecEnv(gymnasium.make_vec("tunemax/Tiny-v1", num_envs=2, set="validation", **short))
    theirs = DummyVecEnv([lambda: Tiny(set="validation", **short)] * 2)
    for each in (ours, theirs):
        each.seed(4)
        each.set_options({"instance": 1})
    assert_equal(ours.reset(), theirs.reset())
    assert ours.reset_infos == theirs.reset_infos
    draw = np.random.default_rng(1)
    for _ in range(7):
        actions = draw.uniform(-1, 1, (2, 2)).astype(np.float32)
        one, other = ours.step(actions), theirs.step(actions)
        assert_equal(one[:3], other[:3])
        for info, expected in zip(one[3], other[3], strict=True):
            assert_equal(info, expected)
        assert ours.reset_infos == theirs.reset_infos
    assert_equal(ours.reset(), theirs.reset())  # seeds and options are used once


def test_sb3_asks_for_attributes_methods_and_images(short: dict[str, Any]) -> None:
    env = SteerVecEnv(TinyVector(2, render_mode="rgb_array", **short))
    env.reset()
    assert env.render_mode == "rgb_array"
    assert env.get_attr("render_mode") == ["rgb_array"] * 2
    assert env.env_is_wrapped(VecMonitor) == [False, False]
    first, second = env.env_method("get_state")
    assert first.training.episode.instance != second.training.episode.instance
    env.env_method("set_state", first, indices=[1])
    assert env.env_method("get_state", indices=1)[0].training.episode.instance == first.training.episode.instance
    env.set_attr("set", Steer(set="test").set)
    assert {info["instance"].partition("/")[0] for info in (env.reset(), env.reset_infos)[1]} == {"test"}
    with pytest.raises(TunemaxError, match="share their attributes"):
        env.set_attr("set", None, indices=[0])
    assert [image.shape for image in env.get_images() if image is not None] == [(480, 720, 3)] * 2
    env.close()


def test_ppo_learns_on_it_without_a_warning(short: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = VecMonitor(SteerVecEnv(TinyVector(4, **short)))
        agent = PPO("MlpPolicy", env, n_steps=3, batch_size=12, n_epochs=1, gamma=1.0, device="cpu", seed=1)
        agent.learn(24)
    assert len(agent.ep_info_buffer or ()) == 8
    assert all(info["l"] == 3 for info in agent.ep_info_buffer or ())
