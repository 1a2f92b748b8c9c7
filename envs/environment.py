"""The environments as Gymnasium knows them: one training, one agent. What happens inside is in `steering`."""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from tunemax.envs.ids import STEER, Row
from tunemax.envs.instances import Instance, InstanceSet, find_set
from tunemax.envs.observation import Features, Observation
from tunemax.envs.rendering import frame, status
from tunemax.envs.spec import with_steps
from tunemax.envs.steering import State, Steering
from tunemax.envs.task import Task, check_config, find_row, task_of
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import shown

RENDER_MODES = ("rgb_array", "ansi")
RESET_OPTIONS = ("instance",)
ORDERS = ("drawn", "fixed")


@dataclass(frozen=True)
class EnvironmentState:
    """All there is to an environment: its training, and the generator that draws instances; None where none is yet.

    place: of the instance in a fixed order.
    """

    training: State | None
    generator: Any
    place: int = 0


class Steer(gymnasium.Env[Observation, Any]):
    """Steer any fields of a GPT training that are declared as controls.

    ## Description
    A GPT is trained on real text, and the agent moves some of its hyperparameters while it trains. An episode is one
    training from its first iteration to its horizon. A step is an action, then `frame_skip` iterations of AdamW, then a
    look at the training. Which training it is (weights, text, wrong initial settings) is the *instance*; it is drawn at
    every reset.

    ## Action Space
    `Box(-1, 1, (k,), float32)`, one number a control. 0 leaves it alone; ±1 moves it by a factor of 1.5
    (multiplicative), by ln 1.5 in log-odds (logit), or by ln 1.5 (additive), within the bounds of the field. Numbers
    outside [-1, 1] are clipped; NaN and wrong shapes are refused. The learning rate is the peak of its schedule, so its
    control is a factor on top of the schedule. `action="multidiscrete"` is `MultiDiscrete([5] * k)`: one of -1, -½, 0,
    ½, 1 a control; `"discrete"` the same in one number; `"absolute"` has the space of the box, and puts a control to a
    place between its bounds.

    ## Observation Space
    `Box(-10, 10, (20 + 2k,), float32)`, normalised by fixed numbers and clipped: progress; log loss relative to the
    start, its fast and slow slopes; validation minus training loss; log gradient norm and how it scatters; size of an
    update relative to the weights; factor of the schedule; mean row sum of attention and share of guarded entries;
    constantmax's β, ln γ and g, mean and standard deviation over layers; width, depth, share of the horizon a step
    takes; every control's place between its bounds; the last action; and what the instance is of each field that
    varies, a number in [-1, 1] or, for what is no number, one number for each value. `env.unwrapped.features` has their
    names. What is not finite lies at the limit.

    ## Rewards
    `reward_scale` times log L before the step minus log L after it, L being the loss on fixed validation windows. The
    scale is a constant of the task that brings rewards to order 1; but for it an episode's rewards add up to
    log(L₀ / L_T), which `info["return"]` has, in nats. Use a discount of 1. If the training diverges, log L_T counts as
    the log of the cap, ln(vocabulary) + `divergence_margin`, plus 0.5: worse than any training that is finished.

    ## Starting State
    A new training at iteration 0: seed, part of the text and initial values of the controls are the instance's.
    Controls start wrong by a factor of up to 10 either way, log-uniform. `reset(options={"instance": 3})` takes the
    set's instance 3, or an `tunemax.envs.instances.Instance`; without it, `seed` decides which is drawn.

    ## Episode End
    `terminated` at the horizon, an end that the agent sees coming in its observation, or when the training diverges: a
    loss or gradient that is not finite, a learnable outside its range, a validation loss above the cap at two steps in
    a row or at the horizon; `eval_by="windows"` in the config is the rule of older agents, any loss above the cap.
    Never `truncated`. The last `info` has `test_loss`: the loss on text that no reward was measured on; the cap if the
    training diverged.

    ## Arguments
    - `name`: the id whose defaults the others are on top of; an id gives its own.
    - `controls`: names of fields (`learning_rate`, `constantmax.gamma`, …), or `gain`. A learnable that is controlled
    is no longer SGD's. `constantmax.gamma@0` is that of the first layer alone; SGD then moves none of the variant's
    learnables, and all trainings are as deep as the task's.
    - `config`: fields of the training, on top of the id's own. `dataset` is one of them.
    - `horizon`, `frame_skip`: iterations of an episode and of a step.
    - `action`: box, absolute, multidiscrete or discrete.
    - `set`: train, validation, test, larger or longer; where instances are drawn from.
    - `order`: drawn, or fixed: the first reset takes the set's instance 0, one behind the end of an episode the next
    instance, any other one, and one with a seed, instance 0 again. For evaluations that always see the same.
    - `windows`, `test_windows`: validation windows of the reward; test windows of the last loss, 0 for none.
    - `render_mode`: rgb_array draws loss (beside the same instance left alone), controls, gradient norm, β and γ; ansi
    is one line.
    - `vary`: fields in which instances differ, and the values that they draw: `{"n_embd": [16, 32, 64]}`, or with
    values that only the set `larger` (of `horizon`: `longer`) draws, `{"n_embd": {"values": [16, 32], "held_out":
    [64]}}`, or between `low` and `high`. Training and test draw from the same.
    - `disturb`: what happens in every episode, somewhere in its middle three fifths, and is not told: `{"text": [...]}`
    goes on with one of these datasets, `{"rate": [3, 10]}` multiplies the learning rate, `{"layer": True}` restarts a
    layer.
    - `reward_scale`: see Rewards.

    `get_state`, `set_state` and `fork` copy a training with everything that decides how it goes on. Environments can be
    pickled.

    ## Version History
    - v1: rewards of order 1 (`reward_scale`), and today's defaults of the training, a faster recipe.
    - v0: first.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": list(RENDER_MODES), "render_fps": 5}  # type: ignore[misc]  # as Gymnasium has it

    def __init__(
        self,
        controls: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        horizon: int | None = None,
        frame_skip: int | None = None,
        action: str = "box",
        set: str = "train",
        windows: int | None = None,
        test_windows: int | None = None,
        render_mode: str | None = None,
        name: str = STEER,
        vary: Mapping[str, Any] | None = None,
        disturb: Mapping[str, Any] | None = None,
        reward_scale: float | None = None,
        order: str = "drawn",
    ) -> None:
        numbers = {"horizon": horizon, "frame_skip": frame_skip, "windows": windows, "test_windows": test_windows}
        given = {"controls": controls, **numbers, "vary": vary, "disturb": disturb, "reward_scale": reward_scale}
        others = {
            "config": config,
            "action": action,
            "set": set,
            "render_mode": render_mode,
            "name": name,
            "order": order,
        }
        self._arguments = {**given, **others}
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise TunemaxError(f"render_mode = {render_mode}: expected one of {', '.join(RENDER_MODES)}")
        if order not in ORDERS:
            raise TunemaxError(f"order = {order}: no such order{did_you_mean(str(order), ORDERS)}")
        self.render_mode = render_mode
        self.order, self._place = order, 0
        self._spec: EnvSpec | None = None
        check_config(config)
        self.task = task_of(name, config, action, **given)
        self.task.check_meant(config or {})
        self.set: InstanceSet = find_set(set)
        self.set.check(self.task)
        self._steering = Steering(self.task)
        self.features = self._steering.features
        self.observation_space: spaces.Space[Any] = self.features.space
        self.action_space = self.task.actions.space
        self.__doc__ = _written(find_row(name), task_of(name)) or self.__doc__

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a training. options: `instance`, an index in the set or an `Instance`."""
        super().reset(seed=seed)
        check_options(options, RESET_OPTIONS)
        wanted = (options or {}).get("instance")
        if wanted is None and self.order == "fixed":
            self._place = self._place + 1 if self._steering.ended(0) and seed is None else 0
            wanted = self._place % self.set.count
        instance = chosen(wanted, self.set, self.task, self.np_random)
        begun = self._steering.start({0: instance})[0]
        return begun.observation, begun.info

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Act, train, look. Raises TunemaxError before a reset, after the end, and for an impossible action."""
        done = self._steering.advance({0: self.task.actions.read(action)})[0]
        return done.observation, done.reward, done.terminated, False, done.info

    def render(self) -> Any:
        """The training so far: pixels (height, width, 3) for rgb_array, a line for ansi, None without a render mode."""
        if self.render_mode is None:
            return None
        episode = self._steering.episode()
        return status(episode) if self.render_mode == "ansi" else frame(self.task, episode)

    @property
    def spec(self) -> EnvSpec | None:
        """What Gymnasium made it of, with the steps of its set's longest episode; None if it has not."""
        return with_steps(self._spec, self.set.steps(self.task)) if self._spec else None

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = spec

    # ------------------------------------------------------------------------------------------------ copies

    def get_state(self) -> EnvironmentState:
        """Everything that decides how this environment goes on; it can be set as often as wanted."""
        return EnvironmentState(self._steering.state(), state_of(self._np_random), self._place)

    def set_state(self, state: EnvironmentState) -> None:
        """Go on from a state of an environment with the same arguments. Raises TunemaxError for one of another task."""
        self._steering.put(0, state.training)
        self._np_random = generator_of(state.generator)
        self._place = state.place

    def fork(self) -> Self:
        """A second environment that goes on from here."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self._arguments, "state": self.get_state(), "spec": self._spec}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(**saved["arguments"])  # type: ignore[misc]
        self.spec = saved["spec"]
        self.set_state(saved["state"])


def check_options(options: Mapping[str, Any] | None, known: Sequence[str]) -> None:
    """Refuse options of a reset that do not exist."""
    if options is not None and not isinstance(options, Mapping):
        raise TunemaxError(f"options = {shown(options)}: expected names with values, such as {known[0]}")
    for name in options or {}:
        if name not in known:
            raise TunemaxError(f"options[{name!r}]: no such option{did_you_mean(str(name), known)}")


def chosen(wanted: Any, of: InstanceSet, task: Task, generator: np.random.Generator) -> Instance:
    """The instance that a reset asks for: itself, by its index, or drawn."""
    if isinstance(wanted, Instance):
        return wanted
    if isinstance(wanted, np.integer):
        wanted = int(wanted)
    return of.draw(task, int(generator.integers(of.count)) if wanted is None else wanted)


def state_of(generator: np.random.Generator | None) -> Any:
    """The state of a generator, None for none."""
    return None if generator is None else copy.deepcopy(generator.bit_generator.state)


def generator_of(state: Any) -> np.random.Generator | None:
    """A generator that goes on from a state; Gymnasium's are PCG64."""
    if state is None:
        return None
    bits = np.random.PCG64()
    bits.state = copy.deepcopy(state)
    return np.random.Generator(bits)


def _written(row: Row, task: Task) -> str:
    """The docstring of an id, in Gymnasium's sections; that of `Steer` is the class's own."""
    numbers = len(Features(task.dials, task.varied).all)
    sections = {
        "Description": f"{row.about} {row.headroom}".rstrip(),
        "Action Space": f"`Box(-1, 1, ({len(row.controls)},), float32)`: {row.moves}.",
        "Observation Space": f"`Box(-10, 10, ({numbers},), float32)`, see `Steer`.",
        "Rewards": f"{row.reward_scale:g} times the fall of log L in the step; a return in nats is the sum over that.",
        "Starting State": f"A new training; {row.starts}.",
        "Episode End": f"`terminated` after {row.horizon // row.frame_skip} steps, or when the training diverges.",
        "Arguments": "Those of `Steer`.",
        "Version History": "\n".join(f"- {version}" for version in row.versions),
    }
    written = [f"## {title}\n{textwrap.fill(text, 116, replace_whitespace=False)}" for title, text in sections.items()]
    return "\n\n".join([row.summary, *written]) if row.summary else ""
