"""What lies in examples/ runs: PPO in one file, and hyperparameters as rl-zoo3 reads them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import yaml
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env

import tunemax.envs

EXAMPLES = Path(__file__).parents[2] / "examples"
ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "sac": SAC}
SETTINGS = [
    (algorithm, id)
    for algorithm in ALGORITHMS
    for id in yaml.safe_load((EXAMPLES / "rl_zoo3" / f"{algorithm}.yml").read_text())
]


def test_ppo_in_one_file_trains_and_tells_returns_in_nats() -> None:
    words = [sys.executable, EXAMPLES / "ppo.py", "--num-envs", "4", "--total-steps", "80", "--epochs", "1"]
    said = subprocess.run(words, capture_output=True, text=True, check=True, cwd=EXAMPLES.parent)
    assert said.stderr == ""
    lines = re.findall(r"^ +(\d+) steps  return (-?\d\.\d+) nats  \d+ steps/s$", said.stdout, flags=re.MULTILINE)
    assert [steps for steps, _ in lines] == ["40", "80"]
    assert all(-2 < float(total) < 2 for _, total in lines), "not scaled"


@pytest.mark.parametrize(("algorithm", "id"), SETTINGS)
def test_rl_zoo3s_hyperparameters_fit_their_ids(algorithm: str, id: str) -> None:
    """As rl-zoo3 takes them: what is not a setting of its own goes to the algorithm, `policy_kwargs` as Python."""
    settings: dict[str, Any] = yaml.safe_load((EXAMPLES / "rl_zoo3" / f"{algorithm}.yml").read_text())[id]
    assert id in tunemax.envs.IDS
    envs, steps = settings.pop("n_envs"), settings.pop("n_timesteps")
    spec = gymnasium.make(id).spec
    assert spec is not None
    assert spec.max_episode_steps is not None
    assert steps > 10 * envs * spec.max_episode_steps
    assert settings.get("n_steps", spec.max_episode_steps) == spec.max_episode_steps, "one episode an update"
    settings["policy_kwargs"] = eval(settings["policy_kwargs"])
    many = make_vec_env(id, n_envs=2, env_kwargs={"frame_skip": 1, "horizon": 2, "windows": 1, "test_windows": 0})
    small = {"n_steps": 2, "batch_size": 4} if algorithm == "ppo" else {"learning_starts": 2, "batch_size": 4}
    agent: Any = ALGORITHMS[algorithm](**{**settings, **small}, env=many, device="cpu", seed=1)
    agent.learn(4)
    assert agent.gamma == 1
