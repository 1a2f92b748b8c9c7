"""The environments as Gymnasium knows them: one training, one agent.

What happens inside is in `tunemax.envs.steering`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
from gymnasium import spaces

from tunemax.envs.instances import Instance, InstanceSet, find_set
from tunemax.envs.observation import Observation
from tunemax.envs.rendering import frame, status
from tunemax.envs.steering import State, Steering
from tunemax.envs.task import Task
from tunemax.gpt.errors import TunemaxError, did_you_mean

RENDER_MODES = ("rgb_array", "ansi")
RESET_OPTIONS = ("instance",)

SMALL = {
    "softmax_variant": "constantmax",
    "n_layer": 2,
    "n_head": 2,
    "n_embd": 32,
    "block_size": 32,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "device": "cpu",
}
"""The training that most ids steer: about a second of one idle core for an episode."""


@dataclass(frozen=True)
class EnvironmentState:
    """All there is to an environment: its training, and the state of the generator that draws instances.

    Both are None where there is none yet.
    """

    training: State | None
    generator: Any


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
    takes; every control's place between its bounds; the last action. `env.unwrapped.features` has their names. What is
    not finite lies at the limit.

    ## Rewards
    log L before the step minus log L after it, L being the loss on fixed validation windows: an episode's rewards add
    up to log(L₀ / L_T). Use a discount of 1. If the training diverges, log L_T counts as the log of the cap,
    ln(vocabulary) + `divergence_margin`, plus 0.5: worse than any training that is finished.

    ## Starting State
    A new training at iteration 0: seed, part of the text and initial values of the controls are the instance's.
    Controls start wrong by a factor of up to 10 either way, log-uniform. `reset(options={"instance": 3})` takes the
    set's instance 3, or an `tunemax.envs.instances.Instance`; without it, `seed` decides which is drawn.

    ## Episode End
    `terminated` at the horizon, an end that the agent sees coming in its observation, or when the training diverges: a
    loss or gradient that is not finite, a loss above the cap, a learnable outside its range. Never `truncated`. The
    last `info` has `test_loss`: the loss on text that no reward was measured on; the cap if the training diverged.

    ## Arguments
    - `controls`: names of fields (`learning_rate`, `constantmax.gamma`, …), or `gain`. A learnable that is controlled
    is no longer SGD's.
    - `config`: fields of the training, on top of the id's own. `dataset` is one of them.
    - `horizon`, `frame_skip`: iterations of an episode and of a step.
    - `action`: box, absolute, multidiscrete or discrete.
    - `set`: train, validation, test, larger or longer; where instances are drawn from.
    - `windows`, `test_windows`: validation windows of the reward; test windows of the last loss, 0 for none.
    - `render_mode`: rgb_array draws loss (beside the same instance left alone), controls, gradient norm, β and γ; ansi
    is one line.

    `get_state`, `set_state` and `fork` copy a training with everything that decides how it goes on. Environments can be
    pickled.

    ## Version History
    - v0: first.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": list(RENDER_MODES), "render_fps": 5}  # type: ignore[misc]  # as Gymnasium has it
    defaults: ClassVar[Mapping[str, Any]] = {
        "controls": ("learning_rate",),
        "config": SMALL,
        "horizon": 400,
        "frame_skip": 20,
    }
    """Arguments of this id; those that are given come on top."""

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
    ) -> None:
        given = {
            "controls": controls,
            "horizon": horizon,
            "frame_skip": frame_skip,
            "windows": windows,
            "test_windows": test_windows,
        }
        self._arguments = {**given, "config": config, "action": action, "set": set, "render_mode": render_mode}
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise TunemaxError(f"render_mode = {render_mode}: expected one of {', '.join(RENDER_MODES)}")
        self.render_mode = render_mode
        self.task = self.task_of(config, action, **given)
        self.set: InstanceSet = find_set(set)
        self._steering = Steering(self.task)
        self.features = self._steering.features
        self.observation_space: spaces.Space[Any] = self.features.space
        self.action_space = self.task.actions.space

    @classmethod
    def task_of(cls, config: Mapping[str, Any] | None = None, action: str = "box", **given: Any) -> Task:
        """The task of this id with some arguments changed; None leaves them."""
        own = {name: value for name, value in cls.defaults.items() if name != "config"}
        own |= {name: value for name, value in given.items() if value is not None}
        controls = own.pop("controls")
        names = (controls,) if isinstance(controls, str) else tuple(controls)
        if not names:
            raise TunemaxError("controls: none given; name at least one field that is a control")
        return Task(names, {**cls.defaults["config"], **(config or {})}, action=action, **own)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a training. options: `instance`, an index in the set or an `Instance`."""
        super().reset(seed=seed)
        check_options(options, RESET_OPTIONS)
        instance = chosen((options or {}).get("instance"), self.set, self.task, self.np_random)
        begun = self._steering.start({0: instance})[0]
        return begun.observation, begun.info

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Act, train for `frame_skip` iterations, look.

        Raises TunemaxError before a reset, after the end, for an impossible action.
        """
        done = self._steering.advance({0: self.task.actions.read(action)})[0]
        return done.observation, done.reward, done.terminated, False, done.info

    def render(self) -> Any:
        """The training so far: pixels (height, width, 3) for rgb_array, a line of text for ansi, nothing without a
        render mode."""
        if self.render_mode is None:
            return None
        episode = self._steering.episode()
        return status(episode) if self.render_mode == "ansi" else frame(self.task, episode)

    # ------------------------------------------------------------------------------------------------ copies

    def get_state(self) -> EnvironmentState:
        """Everything that decides how this environment goes on; it can be set as often as wanted."""
        return EnvironmentState(self._steering.state() if self._steering.begun(0) else None, state_of(self._np_random))

    def set_state(self, state: EnvironmentState) -> None:
        """Go on from a state of an environment with the same arguments. Raises TunemaxError for one of another task."""
        if state.training is not None:
            self._steering.put(0, state.training)
        else:
            self._steering.clear(0)
        self._np_random = generator_of(state.generator)

    def fork(self) -> Self:
        """A second environment that goes on from here."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self._arguments, "state": self.get_state(), "spec": self.spec}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(**saved["arguments"])  # type: ignore[misc]
        self.spec = saved["spec"]
        self.set_state(saved["state"])


def check_options(options: Mapping[str, Any] | None, known: Sequence[str]) -> None:
    """Refuse options of a reset that do not exist."""
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


class Constantmax(Steer):
    """Steer β and γ of constantmax, which SGD leaves alone.

    ## Description
    Constantmax replaces the softmax of attention by b^(x − β) / γ: no maximum, no row sum, two constants. Here they are
    not learned but steered, one β and one γ for all layers. A GPT of 2 layers, 32 wide, is trained for 400 iterations,
    20 a step. Everything that is not said here is as in `Steer`.

    ## Action Space
    `Box(-1, 1, (2,), float32)`: β (additive, ln 1.5 at most), γ (a factor of 1.5 at most).

    ## Observation Space
    `Box(-10, 10, (24,), float32)`, see `Steer`.

    ## Rewards
    log L before the step minus log L after it.

    ## Starting State
    A new training; γ is wrong by up to a factor of 10 either way, β by up to ln 10.

    ## Episode End
    `terminated` after 20 steps, or when the training diverges.

    ## Arguments
    Those of `Steer`.

    ## Version History
    - v0: first.
    """

    defaults: ClassVar[Mapping[str, Any]] = {**Steer.defaults, "controls": ("constantmax.beta", "constantmax.gamma")}


class ConstantmaxGain(Steer):
    """Steer the one number that β and γ of constantmax decide together.

    ## Description
    With b^(x − β) / γ = e^(x·ln b + g) only g = −β·ln b − ln γ matters to what attention computes. Here the action
    moves g; β stays where it is and γ follows. Everything that is not said here is as in `Constantmax`.

    ## Action Space
    `Box(-1, 1, (1,), float32)`: g, additive, ln 1.5 at most.

    ## Observation Space
    `Box(-10, 10, (22,), float32)`, see `Steer`.

    ## Rewards
    log L before the step minus log L after it.

    ## Starting State
    A new training; g is wrong by up to ln 10 either way.

    ## Episode End
    `terminated` after 20 steps, or when the training diverges.

    ## Arguments
    Those of `Steer`.

    ## Version History
    - v0: first.
    """

    defaults: ClassVar[Mapping[str, Any]] = {**Steer.defaults, "controls": ("gain",)}


class LearningRate(Steer):
    """Steer the learning rate of a training, on top of its schedule.

    ## Description
    The schedule stays what it is (warm-up, then cosine); the action moves its peak. β and γ of constantmax are learned
    by SGD. Everything that is not said here is as in `Constantmax`.

    ## Action Space
    `Box(-1, 1, (1,), float32)`: the peak learning rate, a factor of 1.5 at most.

    ## Observation Space
    `Box(-10, 10, (22,), float32)`, see `Steer`.

    ## Rewards
    log L before the step minus log L after it.

    ## Starting State
    A new training; the learning rate is wrong by up to a factor of 10 either way.

    ## Episode End
    `terminated` after 20 steps, or when the training diverges.

    ## Arguments
    Those of `Steer`.

    ## Version History
    - v0: first.
    """

    defaults: ClassVar[Mapping[str, Any]] = {**Steer.defaults, "controls": ("learning_rate",)}


class Joint(Steer):
    """Steer the learning rate together with β and γ of constantmax.

    ## Description
    `LearningRate` and `Constantmax` in one: what is right for β and γ depends on how fast the rest moves. Everything
    that is not said here is as in `Constantmax`.

    ## Action Space
    `Box(-1, 1, (3,), float32)`: peak learning rate (a factor of 1.5 at most), β (additive, ln 1.5), γ (a factor of
    1.5).

    ## Observation Space
    `Box(-10, 10, (26,), float32)`, see `Steer`.

    ## Rewards
    log L before the step minus log L after it.

    ## Starting State
    A new training; learning rate and γ are wrong by up to a factor of 10 either way, β by up to ln 10.

    ## Episode End
    `terminated` after 20 steps, or when the training diverges.

    ## Arguments
    Those of `Steer`.

    ## Version History
    - v0: first.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        **Steer.defaults,
        "controls": ("learning_rate", "constantmax.beta", "constantmax.gamma"),
    }


class Tiny(Steer):
    """A training of milliseconds, for tests and for learning how this works.

    ## Description
    One layer, 8 wide, context 8, 20 iterations, 2 a step: a step takes a few milliseconds of one idle core. The
    learning rate and the gain of constantmax are steered. What is learned here says nothing about larger models.
    Everything else is as in `Steer`.

    ## Action Space
    `Box(-1, 1, (2,), float32)`: the peak learning rate (a factor of 1.5 at most), g (additive, ln 1.5 at most).

    ## Observation Space
    `Box(-10, 10, (24,), float32)`, see `Steer`.

    ## Rewards
    log L before the step minus log L after it.

    ## Starting State
    A new training; the learning rate is wrong by up to a factor of 10 either way, g by up to ln 10.

    ## Episode End
    `terminated` after 10 steps, or when the training diverges.

    ## Arguments
    Those of `Steer`.

    ## Version History
    - v0: first.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        "controls": ("learning_rate", "gain"),
        "config": {
            **SMALL,
            "n_layer": 1,
            "n_head": 1,
            "n_embd": 8,
            "block_size": 8,
            "batch_size": 4,
            "learning_rate": 3e-2,
        },
        "horizon": 20,
        "frame_skip": 2,
        "windows": 16,
        "test_windows": 64,
    }
