"""Agents: what stable-baselines3 has learned, as a policy, and the way from its parts to a file and back.

An agent is rebuilt from its header and filled through `set_parameters`. A training's file has all that it goes on from;
a published one the parts that act, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sb3_contrib import TQC
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecMonitor
from torch import Tensor

from tunemax.envs.agents import file
from tunemax.envs.agents.file import Header
from tunemax.envs.agents.global_rng import borrowed
from tunemax.envs.agents.hyperparameters import KINDS, Algorithm, Preset, read
from tunemax.envs.agents.scene import Scene
from tunemax.envs.observation import Features
from tunemax.envs.policies import Action
from tunemax.envs.sb3 import SteerVecEnv
from tunemax.envs.task import Task
from tunemax.envs.variation import Varied
from tunemax.gpt.errors import TunemaxError

CLASSES: dict[Algorithm, type[BaseAlgorithm]] = {"sac": SAC, "ppo": PPO, "tqc": TQC, "dqn": DQN}
ACTING: dict[Algorithm, tuple[str, ...]] = {
    "sac": ("actor.",),
    "tqc": ("actor.",),
    "ppo": ("mlp_extractor.policy_net.", "action_net.", "log_std"),
    "dqn": ("q_net.",),
}
"""How the names of the tensors begin that an algorithm's policy needs to act."""
COUNTS = ("num_timesteps", "_n_updates", "_n_calls", "_episode_num", "exploration_rate")
"""What algorithms count beside their parameters; those that one of them has."""
BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
PACKAGES = ("tunemax", "stable-baselines3", "sb3-contrib", "gymnasium", "torch", "numpy")


class Agent:
    """A trained policy: for an observation (features,) the action it thinks best, without noise."""

    def __init__(self, header: Header, model: BaseAlgorithm) -> None:
        self.header = header
        self.task = header.scene.task
        self._model = model

    @property
    def name(self) -> str:
        """Algorithm and seed: `sac 1`."""
        return f"{self.header.algorithm} {self.header.seed}"

    @property
    def learned(self) -> bool | None:
        """Whether it does better than controls that are left alone, on training instances; None: not known."""
        return self.header.learning.learned if self.header.learning else None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an agent: a file, or the best in a folder. Raises TunemaxError if missing, damaged or outdated."""
        path = path / BEST if path.is_dir() else path
        header, tensors = file.load(path)
        check_version(header, path)
        preset = read(KINDS[header.algorithm], header.preset, str(path))
        model = build(header.scene, header.algorithm, preset, header.seed, envs=1)
        fill(model, header, tensors, path)
        return cls(header, model)

    def acting(self) -> tuple[Any, dict[str, Tensor]]:
        """The parts that it acts with: their tree, and its tensors."""
        tensors: dict[str, Tensor] = {}
        return file.packed({"acting": _acting(self._model, self.header.algorithm)}, "agent", tensors), tensors

    def act(self, observation: npt.ArrayLike) -> Action:
        action, _ = self._model.predict(np.asarray(observation, dtype=np.float32), deterministic=True)
        return self.task.actions.read(action)

    def check(self, task: Task) -> None:
        """Refuse a task that this agent cannot be judged on: one that it cannot steer, that shows it other things, or
        has rewards of another scale.

        Size, text and horizon may differ from what it was trained on.
        """
        self.check_moves(task)
        name = f"agent {self.name} of {self.header.scene.id}"
        if task.varied != self.task.varied:
            own, others = (_differ_in(each) for each in (self.task.varied, task.varied))
            raise TunemaxError(f"{name}: its instances {own}, and these {others}; train one for these")
        if self.header.features != features_of(task):
            seen, shown = ({feature for feature, _, _ in each} for each in (self.header.features, features_of(task)))
            other = min(seen ^ shown, default="things at another scale")
            what = f"does not see {other}, which is shown here" if other in shown else f"sees {other}, not shown here"
            raise TunemaxError(f"{name}: {what}; train one on this environment")
        if self.header.reward_scale != task.reward_scale:
            scales = f"reward_scale = {self.header.reward_scale:g}, not {task.reward_scale:g}"
            raise TunemaxError(f"{name}: has learned by {scales}; train one on this environment")

    def check_moves(self, task: Task) -> None:
        """Refuse a task with other controls, or another form of actions."""
        name = f"agent {self.name} of {self.header.scene.id}"
        if task.controls != self.header.controls:
            own, others = ", ".join(self.header.controls), ", ".join(task.controls)
            raise TunemaxError(f"{name}: moves {own}, not {others}; train one for these controls")
        if (task.action == "absolute") != (self.task.action == "absolute"):
            raise TunemaxError(f"{name}: trained with action = {self.task.action}; make the environment with the same")


def _differ_in(varied: Mapping[str, Varied]) -> str:
    drawn = (f"{name} ({', '.join(map(str, each.values or (each.low, each.high)))})" for name, each in varied.items())
    return f"differ in {', '.join(drawn)}" if varied else "differ in no field"


BEST, LAST = "best.safetensors", "last.safetensors"


def build(scene: Scene, algorithm: Algorithm, preset: Preset, seed: int, envs: int) -> BaseAlgorithm:
    """An untrained algorithm on a scene's batched environment; equal seeds give equal networks."""
    steps = scene.task.mean_steps
    monitored = VecMonitor(SteerVecEnv(scene.vector(envs)))
    made: Any = CLASSES[algorithm]
    with borrowed():
        arguments = preset.arguments(steps, envs)
        model: BaseAlgorithm = made("MlpPolicy", monitored, seed=seed % 2**32, device="cpu", **arguments)
    return model


def features_of(task: Task) -> tuple[tuple[str, float, float], ...]:
    """What an agent of this task sees, and how it is normalised."""
    return tuple((feature.name, feature.centre, feature.scale) for feature in Features(task.dials, task.varied).all)


def versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def check_version(header: Header, path: Path) -> None:
    """Refuse an agent whose environment is another one in this version of tunemax."""
    try:
        task = header.scene.task
    except TunemaxError as error:  # a file may say anything
        raise TunemaxError(f"{path}: {error}") from error
    then = f"in tunemax {header.versions.get('tunemax', '?')}, which made it"
    if header.controls != task.controls or header.features != features_of(task):
        raise TunemaxError(f"{path}: {header.scene.id} shows or moves other things now than {then}; train again")
    if header.reward_scale != task.reward_scale:
        scales = f"reward_scale = {task.reward_scale:g} now, and had {header.reward_scale:g}"
        raise TunemaxError(f"{path}: {header.scene.id} has {scales} {then}; train again")


# ------------------------------------------------------------------------------------------------------------ parts


def parts(model: BaseAlgorithm) -> tuple[Any, dict[str, int | float], dict[str, Tensor]]:
    """All that a training needs to go on: the tree of its parts, its counts, and the tensors of both."""
    tensors: dict[str, Tensor] = {}
    _, variables = model._get_torch_save_params()
    tree = {"parameters": model.get_parameters(), "variables": {name: getattr(model, name) for name in variables}}
    counts = {name: getattr(model, name) for name in COUNTS if hasattr(model, name)}
    buffer = getattr(model, "replay_buffer", None)
    if isinstance(buffer, ReplayBuffer):
        filled = buffer.size()
        tree["buffer"] = {name: torch.from_numpy(getattr(buffer, name)[:filled].copy()) for name in BUFFER}
        counts["pos"] = buffer.pos
    return file.packed(tree, "agent", tensors), counts, tensors


def fill(model: BaseAlgorithm, header: Header, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give a model that was just built the parts of a file. Raises TunemaxError if they do not fit, or are not finite.

    The replay buffer is left out where the model is for fewer trainings at once, as one that only acts.
    """
    try:
        tree = file.unpacked(header.state, tensors)
        if "acting" in tree:
            whole, own = model.policy.state_dict(), _acting(model, header.algorithm)
            if tree["acting"].keys() != own.keys():
                raise KeyError(min(tree["acting"].keys() ^ own.keys()))
            model.policy.load_state_dict({**whole, **tree["acting"]})
        else:
            _fill_whole(model, header, tree)
    except (KeyError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TunemaxError(
            f"{path}: damaged, its parts do not fit together ({reason}); train again or use another copy"
        ) from error
    bad = [name for name, values in model.policy.state_dict().items() if not torch.isfinite(values).all()]
    if bad:
        raise TunemaxError(f"{path}: damaged, {bad[0]} is not finite; train again or use another copy")


def _acting(model: BaseAlgorithm, algorithm: Algorithm) -> dict[str, Tensor]:
    return {name: values for name, values in model.policy.state_dict().items() if name.startswith(ACTING[algorithm])}


def _fill_whole(model: BaseAlgorithm, header: Header, tree: Any) -> None:
    model.set_parameters(tree["parameters"], exact_match=True, device="cpu")
    with torch.no_grad():
        for name, value in tree["variables"].items():
            getattr(model, name).copy_(value)
    for name in COUNTS:
        if name in header.counts:
            setattr(model, name, header.counts[name])
    if "buffer" in tree and model.n_envs == header.envs:
        _refill(model, tree["buffer"], int(header.counts["pos"]))


def _refill(model: BaseAlgorithm, arrays: Mapping[str, Tensor], pos: int) -> None:
    buffer = model.replay_buffer  # type: ignore[attr-defined]
    filled = len(arrays["rewards"])
    for name in BUFFER:
        getattr(buffer, name)[:filled] = arrays[name].numpy()
    buffer.pos, buffer.full = pos, filled == buffer.buffer_size
