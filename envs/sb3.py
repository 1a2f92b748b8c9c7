"""The vector environment as stable-baselines3 wants it. Put VecMonitor around it; VecNormalize is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from tunemax.envs.vector import SteerVector
from tunemax.gpt.errors import TunemaxError


class SteerVecEnv(VecEnv):
    """N trainings of one trainer, for SB3's algorithms.

    vector: a `SteerVector`, for example of `gymnasium.make_vec("tunemax.envs:tunemax/Tiny-v1", num_envs=16)`. From here
    on it resets in the same step, as stable-baselines3 wants it.

    Attributes are the vector environment's. `env_method` calls its methods with `slot=i` for each index: `get_state`,
    `set_state`.
    """

    def __init__(self, vector: Any) -> None:
        inner = vector.unwrapped
        if not isinstance(inner, SteerVector):
            raise TunemaxError(
                f"{type(inner).__name__}: not a vector environment of tunemax; make one with gymnasium.make_vec"
            )
        if inner.autoreset_mode is AutoresetMode.DISABLED:
            raise TunemaxError("autoreset_mode = Disabled: stable-baselines3 needs SameStep")
        inner.autoreset_mode = AutoresetMode.SAME_STEP
        self.vector = inner  # before super().__init__, which asks for `render_mode`
        super().__init__(inner.num_envs, inner.single_observation_space, inner.single_action_space)
        self.actions: npt.NDArray[Any] = np.empty(0)

    def reset(self) -> npt.NDArray[np.float32]:
        """Begin N trainings, with the seeds and options that were given since the last reset."""
        options: dict[str, Any] = {}
        if any(self._options):
            options["instance"] = [given.get("instance") for given in self._options]
        observations, infos = self.vector.reset(seed=self._seeds, options=options)
        self.reset_infos = self._split(infos)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        self.actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, terminated, truncated, batched = self.vector.step(self.actions)
        done = terminated | truncated
        infos = self._split(batched)
        for i, info in enumerate(infos):
            if done[i]:
                last = info.pop("final_info")
                last["terminal_observation"] = info.pop("final_obs")
                self.reset_infos[i], infos[i] = info, last
            infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        return observations, rewards.astype(np.float32), done, infos

    def close(self) -> None:
        self.vector.close()

    def get_images(self) -> Sequence[npt.NDArray[np.uint8] | None]:
        frames = self.vector.render() if self.render_mode == "rgb_array" else None
        return [None] * self.num_envs if frames is None else list(frames)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [getattr(self.vector, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise TunemaxError(f"{attr_name}: the environments share their attributes; set it for all of them")
        setattr(self.vector, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        method = getattr(self.vector, method_name)
        return [method(*method_args, slot=i, **method_kwargs) for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def _split(self, batched: dict[str, Any]) -> list[dict[str, Any]]:
        """The info of each environment out of a vector's, as plain numbers."""
        return [_of(batched, i) for i in range(self.num_envs)]


def _of(batched: dict[str, Any], i: int) -> dict[str, Any]:
    info: dict[str, Any] = {}
    for name, values in batched.items():
        if f"_{name}" in batched and batched[f"_{name}"][i]:
            value = _of(values, i) if isinstance(values, dict) else values[i]
            info[name] = value.item() if isinstance(value, np.generic) else value
    return info
