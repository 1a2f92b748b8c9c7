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
from gymnasium.wrappers.vector import (
    ClipReward,
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
    RescaleAction,
)
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from tunemax.envs.environment import Steer
from tunemax.envs.instances import Instance
from tunemax.envs.sb3 import SteerVecEnv
from tunemax.envs.vector import SteerVector
from tunemax.gpt.errors import TunemaxError

Tiny = partial(Steer, name="tunemax/Tiny-v1")
TinyVector = partial(SteerVector, name="tunemax/Tiny-v1")
STOP = np.zeros((3, 2), np.float32)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("order", ["drawn", "fixed"])
def test_gymnasiums_own_vector_of_single_environments_says_the_same(
    mode: AutoresetMode, order: str, short: dict[str, Any], assert_equal: Any
) -> None:
    """Through ends of different horizons. In a fixed order each of theirs walks through the set by itself."""
    arguments = {**short, "vary": {"horizon": [8, 12]}, "order": order}
    arguments.pop("horizon")
    count = 1 if order == "fixed" else 3
    ours = TinyVector(count, autoreset_mode=mode, **arguments)
    theirs = SyncVectorEnv([lambda: Tiny(**arguments)] * count, autoreset_mode=mode)
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
    assert ours.metadata["autoreset_mode"] is mode
    assert_equal(ours.reset(seed=3), theirs.reset(seed=3))
    theirs.action_space.seed(1)
    for _ in range(9):
        actions = theirs.action_space.sample()
        one, other = ours.step(actions), theirs.step(actions)
        assert_equal(one[:4], other[:4])
        assert_equal(_shown(one[4]), _shown(other[4]))
    assert_equal(ours.reset()[0], theirs.reset()[0])


def test_next_step_is_the_default_and_ignores_the_action_after_an_end(short: dict[str, Any]) -> None:
    env = TinyVector(2, **short)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    env.reset(seed=1, options={"instance": [0, Instance("longer", 1, (0.0, 1.0), 16)]})
    for _ in range(3):
        _, _, terminated, _, infos = env.step(STOP[:2])
    assert terminated.tolist() == [True, False]
    assert "final_obs" not in infos
    _, rewards, terminated, _, infos = env.step(np.array([[np.nan, np.nan], [0, 0]], np.float32))
    assert rewards[0] == 0
    assert infos["iteration"].tolist() == [0, 16]
    assert terminated.tolist() == [False, True]
    with pytest.raises(TunemaxError, match="expected finite numbers"):
        env.step(np.full((2, 2), np.nan, np.float32))


def test_gymnasiums_vector_wrappers_work_over_it(short: dict[str, Any]) -> None:
    plain = gymnasium.make_vec("tunemax.envs:tunemax/Tiny-v1", num_envs=3, **short)
    wrapped = gymnasium.make_vec("tunemax.envs:tunemax/Tiny-v1", num_envs=3, **short)
    wrapped = RecordEpisodeStatistics(wrapped)
    wrapped = ClipReward(NormalizeReward(NormalizeObservation(wrapped), gamma=1.0), -2, 2)
    wrapped = RescaleAction(wrapped, -3.0, 3.0)
    plain.reset(seed=1)
    wrapped.reset(seed=1)
    returns = np.zeros(3)
    for _ in range(8):
        returns += plain.step(STOP)[1]
        observations, rewards, terminated, _, infos = wrapped.step(STOP)
        assert np.isfinite(observations).all()
        assert np.abs(rewards).max() <= 2
        if terminated.any():
            assert infos["episode"]["l"].tolist() == [3, 3, 3]
            assert infos["episode"]["r"] == pytest.approx(returns, rel=1e-5)
            returns[:] = 0


def test_processes_of_single_environments_say_the_same(short: dict[str, Any], assert_equal: Any) -> None:
    arguments = {**short, "disturb": {"rate": [3, 10], "layer": True}}
    ours = gymnasium.make_vec("tunemax.envs:tunemax/MixedWidths-v1", num_envs=2, **arguments)
    theirs = gymnasium.make_vec("tunemax/MixedWidths-v1", num_envs=2, vectorization_mode="async", **arguments)
    try:
        assert_equal(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
        ours.action_space.seed(1)
        for _ in range(5):
            actions = ours.action_space.sample()
            one, other = ours.step(actions), theirs.step(actions)
            assert_equal(one[:4], other[:4])
            assert_equal(_shown(one[4]), _shown(other[4]))
    finally:
        theirs.close()


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
            lambda env: TinyVector(2, autoreset_mode="Never"),
            "autoreset_mode = Never: expected one of NextStep, SameStep, Disabled",
        ),
        (lambda env: TinyVector(2, order="sorted"), "order = sorted: no such order; known: drawn, fixed"),
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


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("order", ["drawn", "fixed"])
def test_copies_go_on_alike(mode: str, order: str, short: dict[str, Any], assert_equal: Any) -> None:
    env = TinyVector(3, autoreset_mode=mode, order=order, **short)
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


# ---- a fixed order ---------------------------------------------------------------------------------------------------


def test_a_fixed_order_goes_on_after_an_end_and_else_begins_anew(short: dict[str, Any]) -> None:
    env = Tiny(order="fixed", set="validation", **short)

    def reset(**arguments: Any) -> str:
        return str(env.reset(**arguments)[1]["instance"])

    def play(steps: int = 3) -> None:
        for _ in range(steps):
            env.step(np.zeros(2))

    assert [reset(), reset()] == ["validation/0"] * 2
    play()
    assert reset() == "validation/1"
    play()
    assert reset(options={"instance": 7}) == "validation/7"
    play()
    assert reset() == "validation/2"
    copy = pickle.loads(pickle.dumps(env))
    play()
    assert reset() == "validation/3"
    play(1)
    assert reset() == "validation/0"
    play()
    assert reset(seed=4) == "validation/0"
    for _ in range(3):
        copy.step(np.zeros(2))
    assert copy.reset()[1]["instance"] == "validation/3"


@pytest.mark.parametrize("count", [1, 3])
def test_sb3s_evaluation_callback_sees_the_same_instances_each_time(count: int, short: dict[str, Any]) -> None:
    """One single environment, or several trainings in one vector: each instance once."""
    seen: list[str] = []

    def note(variables: dict[str, Any], _: dict[str, Any]) -> None:
        if variables["done"]:
            seen.append(variables["info"]["instance"])

    class Noted(EvalCallback):
        def _log_success_callback(self, locals_: dict[str, Any], globals_: dict[str, Any]) -> None:
            note(locals_, globals_)

    arguments: dict[str, Any] = {**short, "set": "validation", "order": "fixed"}
    evaluated = Tiny(**arguments) if count == 1 else VecMonitor(SteerVecEnv(TinyVector(count, **arguments)))
    agent = PPO(
        "MlpPolicy", VecMonitor(SteerVecEnv(TinyVector(2, **short))), n_steps=3, batch_size=6, n_epochs=1, seed=1
    )
    agent.learn(12, EvalCallback(evaluated, n_eval_episodes=6, eval_freq=3, verbose=0, warn=False))  # type: ignore[arg-type]
    seen.clear()
    agent.learn(12, Noted(evaluated, n_eval_episodes=6, eval_freq=3, verbose=0, warn=False))
    assert len(seen) == 12
    for evaluation in (seen[:6], seen[6:]):
        assert sorted(evaluation) == [f"validation/{index}" for index in range(6)]


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
