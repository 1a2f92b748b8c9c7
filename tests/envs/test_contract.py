"""What every registered id promises, whatever it steers. A new id is tested by being registered."""

from __future__ import annotations

import json
import pickle
import pydoc
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from tunemax import envs
from tunemax.envs import environment
from tunemax.envs.ids import LATEST
from tunemax.gpt.errors import TunemaxError

Rollout = list[tuple[Any, ...]]
over_ids = pytest.mark.parametrize("id", LATEST)


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# ---- the checkers ----------------------------------------------------------------------------------------------------


@over_ids
def test_gymnasiums_checker_has_nothing_to_say(id: str) -> None:
    check_env(gymnasium.make(id).unwrapped, skip_render_check=True)


@over_ids
def test_gymnasiums_checker_renders_every_mode(id: str, short: dict[str, Any]) -> None:
    check_env(gymnasium.make(id, render_mode="rgb_array", **short).unwrapped)


@over_ids
def test_sb3s_checker_has_nothing_to_say(id: str, short: dict[str, Any]) -> None:
    check_env_for_sb3(gymnasium.make(id, **short).unwrapped)


@over_ids
@pytest.mark.parametrize("form", ["absolute", "multidiscrete", "discrete"])
def test_every_form_of_actions_passes_both_checkers(id: str, form: str, short: dict[str, Any]) -> None:
    check_env(gymnasium.make(id, action=form, **short).unwrapped, skip_render_check=True)
    check_env_for_sb3(gymnasium.make(id, action=form, **short).unwrapped)


@over_ids
def test_a_spec_makes_the_environment_again(
    id: str, short: dict[str, Any], roll: Callable[..., Rollout], assert_equal: Any
) -> None:
    env = gymnasium.make(f"tunemax.envs:{id}", set="validation", **short)
    assert env.spec is not None
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    direct = gymnasium.make(env.spec)
    start = env.reset(seed=2)
    played = roll(env, 1)
    for other in (again, direct):
        assert_equal(other.reset(seed=2), start)
        assert_equal(roll(other, 1), played)
        assert other.spec is not None
        assert other.spec.max_episode_steps == env.spec.max_episode_steps == len(played) == 3


@over_ids
def test_a_spec_knows_the_steps_of_an_episode(id: str) -> None:
    env = gymnasium.make(id)
    task = env.unwrapped.task  # type: ignore[attr-defined]
    many = gymnasium.make_vec(id, num_envs=2)
    assert env.spec is not None
    assert many.spec is not None
    assert env.spec.max_episode_steps == many.spec.max_episode_steps == task.horizon // task.frame_skip
    assert gymnasium.spec(id).max_episode_steps is None
    longer = gymnasium.make(id, set="longer")
    assert longer.spec is not None
    assert longer.spec.max_episode_steps == max(longer.unwrapped.set.horizons(task)) // task.frame_skip  # type: ignore[attr-defined]


# ---- the same again --------------------------------------------------------------------------------------------------


@over_ids
def test_equal_seeds_give_equal_rollouts(
    id: str, short: dict[str, Any], roll: Callable[..., Rollout], assert_equal: Any
) -> None:
    runs = []
    for _ in range(2):
        env = gymnasium.make(id, **short)
        runs.append([env.reset(seed=7), *roll(env, 3), env.reset(), *roll(env, 4)])
    assert_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0][1][0], runs[0][5][0])


@over_ids
def test_the_global_generators_are_not_touched(id: str, short: dict[str, Any], roll: Callable[..., Rollout]) -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the very generator that must be left alone
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    env = gymnasium.make(id, **short)
    env.reset(seed=1)
    roll(env, 1)
    env.reset()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # type: ignore[index]  # noqa: NPY002


@over_ids
def test_a_pickle_goes_on_where_the_environment_was(
    id: str, short: dict[str, Any], roll: Callable[..., Rollout], assert_equal: Any
) -> None:
    env = gymnasium.make(id, render_mode="ansi", **short)
    env.reset(seed=5)
    roll(env, 1, steps=2)
    copy = pickle.loads(pickle.dumps(env))
    assert copy.spec == env.spec
    assert copy.render() == env.render()
    for _ in range(2):
        assert_equal(roll(env, 9), roll(copy, 9))
        assert_equal(env.reset(), copy.reset())  # the generator that draws instances has gone along


@over_ids
def test_a_fork_goes_on_alike_and_by_itself(
    id: str, short: dict[str, Any], roll: Callable[..., Rollout], assert_equal: Any
) -> None:
    env = gymnasium.make(id, **short).unwrapped
    assert isinstance(env, environment.Steer)
    env.reset(seed=5)
    roll(env, 1, steps=1)
    state, fork = env.get_state(), env.fork()
    there = roll(fork, 2)
    assert_equal(roll(env, 2), there)
    for _ in range(2):
        env.set_state(state)
        assert_equal(roll(env, 2), there)
    env.set_state(state)
    assert not np.array_equal(roll(env, 8)[0][0], there[0][0])


@over_ids
def test_n_environments_are_n_single_ones(id: str, short: dict[str, Any], assert_equal: Any) -> None:
    many = gymnasium.make_vec(id, num_envs=3, autoreset_mode="SameStep", **short)
    singles = [gymnasium.make(id, **short) for _ in range(3)]
    observations, _ = many.reset(seed=11)
    for i, single in enumerate(singles):
        assert_equal(observations[i], single.reset(seed=11 + i)[0])
    many.action_space.seed(4)
    for _ in range(4):  # one step beyond the end of the episode
        actions = many.action_space.sample()
        observations, rewards, terminated, truncated, infos = many.step(actions)
        for i, single in enumerate(singles):
            observation, reward, ended, _, info = single.step(actions[i])
            if ended:
                assert_equal(infos["final_obs"][i], observation)
                assert infos["final_info"]["test_loss"][i] == info["test_loss"]
                observation, info = single.reset()
            assert_equal(observations[i], observation)
            assert (rewards[i], terminated[i], truncated[i]) == (reward, ended, False)
            assert infos["loss"][i] == info["loss"]
            assert infos["instance"][i] == info["instance"]


@pytest.mark.parametrize("id", sorted(envs.IDS.keys() - LATEST.keys()))
def test_an_older_version_trains_as_in_its_time(id: str, short: dict[str, Any], roll: Callable[..., Rollout]) -> None:
    """Gymnasium says once that there is a newer one; numbers are those of then: rewards in nats, the older recipe."""
    with pytest.warns(DeprecationWarning, match="out of date") as told:
        env = gymnasium.make(id, **short)
    assert len(told) == 1
    task = env.unwrapped.task  # type: ignore[attr-defined]
    assert task.reward_scale == 1
    assert (task.config.train.schedule, task.config.train.grad_clip) == ("cosine", 1.0)
    _, start = env.reset(seed=1)
    rewards = [reward for _, reward, *_ in roll(env, 1)]
    today = gymnasium.make(id.replace("-v0", "-v1"), **short)
    assert today.reset(seed=1)[1]["loss"] != start["loss"]  # other initial weights
    assert 5 * abs(sum(rewards)) < abs(sum(reward for _, reward, *_ in roll(today, 1)))


# ---- an episode ------------------------------------------------------------------------------------------------------


@over_ids
def test_rewards_add_up_to_the_fall_of_the_log_loss(
    id: str, short: dict[str, Any], roll: Callable[..., Rollout]
) -> None:
    env = gymnasium.make(id, **short)
    _, start = env.reset(seed=1)
    seen = roll(env, 1)
    assert [terminated for _, _, terminated, _, _ in seen] == [False, False, True]
    assert not any(truncated for _, _, _, truncated, _ in seen)
    assert [info["iteration"] for *_, info in seen] == [4, 8, 12]
    total = sum(reward for _, reward, *_ in seen) / env.unwrapped.task.reward_scale  # type: ignore[attr-defined]
    assert total == pytest.approx(np.log(start["loss"] / seen[-1][-1]["loss"]), abs=1e-12)
    assert seen[-1][-1]["return"] == pytest.approx(total, abs=1e-12)
    assert 0 < seen[-1][-1]["test_loss"] < 10
    assert all("test_loss" not in info for *_, info in seen[:-1])


@over_ids
def test_to_step_before_a_reset_or_after_the_end_is_refused(
    id: str, short: dict[str, Any], roll: Callable[..., Rollout]
) -> None:
    env = gymnasium.make(id, **short).unwrapped
    action = env.action_space.sample()
    with pytest.raises(TunemaxError, match="step: no training has begun; call reset"):
        env.step(action)
    env.reset(seed=1)
    roll(env, 1)
    with pytest.raises(TunemaxError, match="step: this episode has ended; call reset"):
        env.step(action)


# ---- how it is registered and written up -----------------------------------------------------------------------------


def test_importing_the_ids_loads_no_model() -> None:
    heavy = ("torch", "tunemax.gpt", "stable_baselines3")
    program = f"import sys, json, tunemax.envs; print(json.dumps([name for name in sys.modules if name in {heavy}]))"
    assert (
        json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
        == []
    )


@over_ids
def test_an_id_is_registered_with_both_entry_points_as_text(id: str) -> None:
    spec = gymnasium.spec(id)
    assert isinstance(spec.entry_point, str)
    assert isinstance(spec.vector_entry_point, str)
    assert pickle.loads(pickle.dumps(spec)) == spec


@over_ids
def test_an_id_is_written_up_in_gymnasiums_sections(id: str) -> None:
    env = gymnasium.make(id)
    text = pydoc.plain(pydoc.render_doc(env.unwrapped))  # what `help` shows
    sections = re.findall(r"^[ |]*## (.*)$", text, flags=re.MULTILINE)
    assert sections == [
        "Description", "Action Space", "Observation Space", "Rewards", "Starting State", "Episode End", "Arguments",
        "Version History",
    ]  # fmt: skip
    if id != "tunemax/Steer-v1":  # its sizes follow from its arguments
        for space in (env.action_space, env.observation_space):
            assert space.shape is not None
            assert f"({space.shape[0]},), float32)`" in text
        steps = env.unwrapped.task.steps(env.unwrapped.task.horizon)  # type: ignore[attr-defined]
        assert f"`terminated` after {steps} steps" in " ".join(text.split())
