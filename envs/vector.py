"""N trainings that advance as members of one trainer, as Gymnasium's `VectorEnv`: equal to N single environments."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from tunemax.envs.environment import EnvironmentState, Steer, check_options, chosen, generator_of, state_of
from tunemax.envs.instances import Instance, InstanceSet
from tunemax.envs.observation import Observation
from tunemax.envs.rendering import frame, status
from tunemax.envs.spec import with_steps
from tunemax.envs.steering import Steering, Transition
from tunemax.gpt.errors import TunemaxError

RESET_OPTIONS = ("instance", "reset_mask")
MODES = {mode.value: mode for mode in AutoresetMode}

Batch = tuple[Observation, npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]]


class SteerVector(VectorEnv[Observation, Any, npt.NDArray[Any]]):
    """N environments of one id as one batched model.

    Takes the arguments of the single environment, and:

    num_envs: how many. autoreset_mode: NextStep (Gymnasium's default: where a training has ended, the next step ignores
    the action, begins a new one, and gives a reward of 0), SameStep (it is replaced in the same step; its last
    observation and info are in `final_obs` and `final_info`) or Disabled (call `reset(options={"reset_mask": mask})`
    for those that have ended). max_episode_steps: of a spec that Gymnasium hands on; a training ends by itself.

    In a fixed `order` environment i takes the instances i, i + N, i + 2N, …, by turns.

    `reset(seed=s)` seeds environment i with s + i. `options["instance"]` is one instance for all, or one for each (None
    draws). Each environment has a generator of its own, as N single ones have.
    """

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        **arguments: Any,
    ) -> None:
        name = autoreset_mode.value if isinstance(autoreset_mode, AutoresetMode) else autoreset_mode
        if name not in MODES:
            raise TunemaxError(f"autoreset_mode = {name}: expected one of {', '.join(MODES)}")
        self._arguments = {"num_envs": num_envs, **arguments}
        single = Steer(**arguments)  # checks the arguments; it trains nothing
        if isinstance(num_envs, bool) or not isinstance(num_envs, int) or num_envs < 1:
            raise TunemaxError(f"num_envs = {num_envs}: expected a whole number of at least 1")
        self.num_envs = num_envs
        self.metadata = {**single.metadata, "autoreset_mode": MODES[name]}
        self._spec: EnvSpec | None = None
        self.render_mode = single.render_mode
        self.task = single.task
        self.set: InstanceSet = single.set
        self.features = single.features
        self.single_observation_space, self.single_action_space = single.observation_space, single.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._steering = Steering(self.task, num_envs)
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self.order = single.order
        self._places = list(range(num_envs))
        """Where each stands in a fixed order."""
        self._seen = np.zeros((num_envs, *single.features.space.shape), np.float32)
        """The latest observation of each environment: what a masked reset gives for those it leaves alone."""

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin trainings: in all environments, or where `options["reset_mask"]` is true."""
        options = options or {}
        check_options(options, RESET_OPTIONS)
        seeds = (
            [int(seed) + i for i in range(self.num_envs)]
            if isinstance(seed, (int, np.integer))
            else self._each(seed, "seed")
        )
        wanted = self._each(options.get("instance"), "instance")
        mask = self._mask(options.get("reset_mask"))
        instances = {}
        for i in np.flatnonzero(mask).tolist():
            if seeds[i] is not None:
                self._generators[i] = seeding.np_random(seeds[i])[0]
            instances[i] = self._next(i, wanted[i], anew=seeds[i] is not None)
        begun = self._steering.start(instances)
        return self._observations(begun), self._infos({i: start.info for i, start in begun.items()})

    def step(self, actions: Any) -> Batch:
        """One step of every environment. Raises TunemaxError for one that was not reset, at first or after its end."""
        given = np.asarray(actions)
        if given.shape[:1] != (self.num_envs,):
            raise TunemaxError(f"actions of shape {given.shape}: expected {self.num_envs} actions, one an environment")
        mode, everyone = self.autoreset_mode, range(self.num_envs)
        over = [i for i in everyone if self._steering.ended(i)] if mode is AutoresetMode.NEXT_STEP else []
        rows = [i for i in everyone if i not in over]
        done = self._steering.advance(dict(zip(rows, self.task.actions.read_all(given[rows]), strict=True)))
        rewards, ended = np.zeros(self.num_envs), np.zeros(self.num_envs, np.bool_)
        for i, transition in done.items():
            rewards[i], ended[i] = transition.reward, transition.terminated
        infos = {i: transition.info for i, transition in done.items()}
        if mode is AutoresetMode.SAME_STEP:
            over = np.flatnonzero(ended).tolist()
        begun = self._steering.start({i: self._next(i) for i in over}) if over else {}
        for i, start in begun.items():
            final = {"final_obs": done[i].observation, "final_info": infos[i]} if i in done else {}
            infos[i] = {**start.info, **final}
        observations = self._observations({**done, **begun})
        return observations, rewards, ended, np.zeros_like(ended), self._infos({i: infos[i] for i in everyone})

    def render(self) -> tuple[Any, ...] | None:
        """What each single environment would render."""
        if self.render_mode is None:
            return None
        episodes = [self._steering.episode(i) for i in range(self.num_envs)]
        return tuple(
            status(episode) if self.render_mode == "ansi" else frame(self.task, episode) for episode in episodes
        )

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """When a training that has ended is replaced."""
        mode: AutoresetMode = self.metadata["autoreset_mode"]
        return mode

    @autoreset_mode.setter
    def autoreset_mode(self, mode: AutoresetMode) -> None:
        self.metadata = {**self.metadata, "autoreset_mode": mode}

    @property
    def spec(self) -> EnvSpec | None:
        """What Gymnasium made it of, with the steps of its set's longest episode; None if it has not."""
        return with_steps(self._spec, self.set.steps(self.task)) if self._spec else None

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = spec

    # ------------------------------------------------------------------------------------------------ copies

    def get_state(self, slot: int) -> EnvironmentState:
        """Everything that decides how one of the environments goes on; a single environment can go on from it, too."""
        return EnvironmentState(self._steering.state(slot), state_of(self._generators[slot]), self._places[slot])

    def set_state(self, state: EnvironmentState, slot: int) -> None:
        """Let one of the environments go on from a state, its own or another's."""
        self._steering.put(slot, state.training)
        self._generators[slot] = generator_of(state.generator)
        self._places[slot] = state.place

    def fork(self) -> Self:
        """A second one that goes on from here."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        states = [self.get_state(i) for i in range(self.num_envs)]
        arguments = {**self._arguments, "autoreset_mode": self.autoreset_mode}
        return {"arguments": arguments, "states": states, "seen": self._seen.copy(), "spec": self._spec}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(**saved["arguments"])  # type: ignore[misc]
        self.spec, self._seen = saved["spec"], saved["seen"].copy()
        for i, state in enumerate(saved["states"]):
            self.set_state(state, i)

    # ------------------------------------------------------------------------------------------------ inside

    def _next(self, i: int, wanted: Any = None, anew: bool = False) -> Instance:
        """The instance that an environment begins now. anew: the fixed order begins with its first."""
        if wanted is None and self.order == "fixed":
            self._places[i] = self._places[i] + self.num_envs if self._steering.ended(i) and not anew else i
            wanted = self._places[i] % self.set.count
        return chosen(wanted, self.set, self.task, self._generator(i))

    def _generator(self, i: int) -> np.random.Generator:
        generator = self._generators[i] = self._generators[i] or seeding.np_random()[0]
        return generator

    def _each(self, given: Any, name: str) -> list[Any]:
        """One value for each environment, from one for all or a sequence."""
        if given is None or isinstance(given, (int, np.integer)) or not isinstance(given, (Sequence, np.ndarray)):
            return [given] * self.num_envs
        if len(given) != self.num_envs:
            raise TunemaxError(f"{name}: {len(given)} values for {self.num_envs} environments; give one for each")
        return list(given)

    def _mask(self, given: Any) -> npt.NDArray[np.bool_]:
        """Which environments a reset is about, (num_envs,)."""
        if given is None:
            return np.ones(self.num_envs, np.bool_)
        mask = np.asarray(given)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise TunemaxError(f"options['reset_mask']: expected {self.num_envs} booleans, at least one of them true")
        return mask

    def _observations(self, found: Mapping[int, Transition]) -> Observation:
        for i, transition in found.items():
            self._seen[i] = transition.observation
        return self._seen.copy()

    def _infos(self, infos: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
        """What Gymnasium's vectors make of infos: for each name an array, and a mask that says who has it."""
        batched: dict[str, Any] = {}
        for name in dict.fromkeys(name for info in infos.values() for name in info):
            values = {i: info[name] for i, info in infos.items() if name in info}
            rows, kind = list(values), type(next(iter(values.values())))
            if kind is dict:
                batched[name] = self._infos(values)
            elif kind in (int, float, bool):
                batched[name] = np.zeros(self.num_envs, kind)
                batched[name][rows] = list(values.values())
            else:
                batched[name] = np.full(self.num_envs, None, object)
                for i, value in values.items():
                    batched[name][i] = value
            batched[f"_{name}"] = np.isin(np.arange(self.num_envs), rows)
        return batched
