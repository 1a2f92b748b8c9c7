"""Policies that are not learned by gradients: what an agent has to beat, and what a tuner can tune.

A policy looks at one observation (features,) and answers with an action (dials,) in [-1, 1], as the `box` form has it,
or with the values that some dials are to have at once, by name. Policies hold no memory of an episode, so one policy
may steer any number of trainings. The tunable ones are made from a flat vector: `Kind.bounds(task)` says of how many
numbers and within which bounds, `Kind.of(task, vector)` makes the policy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from tunemax.envs.observation import Features
from tunemax.envs.task import Task
from tunemax.gpt.errors import TunemaxError

Action = npt.NDArray[np.float64]
Values = Mapping[str, float]
"""Of dials by name; those that are not in it are left alone."""
Answer = Action | Values
Vector = Sequence[float] | npt.NDArray[np.float64]


class Policy(Protocol):
    """What steers: an action for an observation, or the values that dials are to have."""

    def act(self, observation: npt.ArrayLike) -> Answer: ...


@dataclass(frozen=True)
class Bound:
    """One number of a policy that a tuner chooses: between low and high, from a start; `log` if it is a scale."""

    name: str
    low: float
    high: float
    start: float
    log: bool = False


class Tunable(Protocol):
    """A kind of policy that is made from a flat vector."""

    @classmethod
    def bounds(cls, task: Task) -> tuple[Bound, ...]: ...

    @classmethod
    def of(cls, task: Task, vector: Vector) -> Policy: ...


@dataclass(frozen=True)
class Static:
    """Leaves every control where the instance starts it."""

    dials: int

    @classmethod
    def for_task(cls, task: Task) -> Self:
        return cls(len(task.dials))

    def act(self, observation: npt.ArrayLike) -> Action:
        return np.zeros(self.dials)


class Random:
    """Moves every control at random: uniform in [-1, 1], a step."""

    def __init__(self, task: Task, seed: int) -> None:
        self.dials = len(task.dials)
        self.generator = np.random.default_rng(seed)

    def act(self, observation: npt.ArrayLike) -> Action:
        return self.generator.uniform(-1.0, 1.0, self.dials)


class Targets:
    """A policy that knows where each control should be, and puts it there in one step, whatever the form of actions."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.features = Features(task.dials, task.varied)

    def act(self, observation: npt.ArrayLike) -> Values:
        raise NotImplementedError


class Constant(Targets):
    """Brings every control to one value and keeps it there: the best static setting, if it is tuned."""

    def __init__(self, task: Task, values: Mapping[str, float]) -> None:
        super().__init__(task)
        self.values = dict(values)

    def act(self, observation: npt.ArrayLike) -> Values:
        return self.values

    @classmethod
    def bounds(cls, task: Task) -> tuple[Bound, ...]:
        return tuple(Bound(dial.name, -1.0, 1.0, dial.unit(dial.read(task.config.held()))) for dial in task.dials)

    @classmethod
    def of(cls, task: Task, vector: Vector) -> Self:
        places = _checked(cls, task, vector)
        return cls(task, {dial.name: dial.at(place) for dial, place in zip(task.dials, places, strict=True)})


class WarmupCosine(Targets):
    """Warm-up, then a cosine, for the learning rate that the optimizer uses; other controls are left alone.

    The schedule of the training is divided out: what is asked for here is what the next iterations get, as far as the
    bounds of the control reach.
    """

    def __init__(self, task: Task, peak: float, warmup: float = 0.05, floor: float = 0.1) -> None:
        super().__init__(task)
        if "learning_rate" not in task.controls:
            raise TunemaxError("warm-up and cosine: this task does not control learning_rate")
        self.peak, self.warmup, self.floor = peak, warmup, floor

    def act(self, observation: npt.ArrayLike) -> Values:
        progress = self.features.raw(observation, "progress")
        if progress < self.warmup:
            share = (progress + self.features.raw(observation, "step")) / max(self.warmup, 1e-9)
            wanted = self.peak * min(share, 1.0)
        else:
            over = min((progress - self.warmup) / max(1 - self.warmup, 1e-9), 1.0)
            wanted = self.peak * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * over)))
        return {"learning_rate": wanted / max(self.features.raw(observation, "schedule"), 1e-3)}

    @classmethod
    def bounds(cls, task: Task) -> tuple[Bound, ...]:
        start = float(task.config.train.learning_rate)
        peak, warmup = Bound("peak", 1e-4, 0.3, start, log=True), Bound("warmup", 0.0, 0.5, 0.05)
        return (peak, warmup, Bound("floor", 0.0, 1.0, 0.1))

    @classmethod
    def of(cls, task: Task, vector: Vector) -> Self:
        return cls(task, *_checked(cls, task, vector))


class Spline(Targets):
    """An open-loop schedule: the place of each control is a piecewise linear function of progress alone."""

    KNOTS = 4

    def __init__(self, task: Task, places: npt.ArrayLike) -> None:
        """places: (dials, knots), each in [-1, 1] between a dial's bounds, evenly spread over the horizon."""
        super().__init__(task)
        self.places = np.asarray(places, dtype=np.float64).reshape(len(task.dials), -1)

    def act(self, observation: npt.ArrayLike) -> Values:
        knots = np.linspace(0, 1, self.places.shape[1])
        progress = self.features.raw(observation, "progress")
        return {
            dial.name: dial.at(float(np.interp(progress, knots, row)))
            for dial, row in zip(self.task.dials, self.places, strict=True)
        }

    @classmethod
    def bounds(cls, task: Task) -> tuple[Bound, ...]:
        constant, knots = Constant.bounds(task), range(cls.KNOTS)
        return tuple(replace(bound, name=f"{bound.name}/{knot}") for bound in constant for knot in knots)

    @classmethod
    def of(cls, task: Task, vector: Vector) -> Self:
        return cls(task, _checked(cls, task, vector))


class LogLinear:
    """Feedback in a few numbers: each action is tanh of a linear function of a few features, most of them logarithms.

    The control's own place is one of them, so that a policy can say where it wants to be.
    """

    SEEN = ("progress", "row_sum", "update")

    def __init__(self, task: Task, weights: npt.ArrayLike) -> None:
        """weights: (dials, 2 + features), the bias, the control's own place, then the features of SEEN."""
        self.dials = task.dials
        self.features = Features(task.dials, task.varied)
        self.weights = np.asarray(weights, dtype=np.float64).reshape(len(task.dials), 2 + len(self.SEEN))

    def act(self, observation: npt.ArrayLike) -> Action:
        numbers = dict(zip(self.features.names, np.asarray(observation, dtype=np.float64), strict=True))
        seen = [numbers[name] for name in self.SEEN]
        inputs = [np.array([1.0, numbers[f"at/{dial.name}"], *seen]) for dial in self.dials]
        return np.array([math.tanh(float(row @ x)) for row, x in zip(self.weights, inputs, strict=True)])

    @classmethod
    def bounds(cls, task: Task) -> tuple[Bound, ...]:
        names = ("bias", "place", *cls.SEEN)
        return tuple(Bound(f"{dial.name}/{name}", -5.0, 5.0, 0.0) for dial in task.dials for name in names)

    @classmethod
    def of(cls, task: Task, vector: Vector) -> Self:
        return cls(task, _checked(cls, task, vector))


class Plateau:
    """The rule that everybody knows: when the loss stops falling, lower the learning rate."""

    def __init__(self, task: Task, threshold: float = 0.005, action: float = -1.0) -> None:
        """threshold: least fall of the log loss a step, over the last ten or so. action: what is done below it."""
        if "learning_rate" not in task.controls:
            raise TunemaxError("plateau: this task does not control learning_rate")
        self.names = [dial.name for dial in task.dials]
        self.features = Features(task.dials, task.varied)
        self.threshold, self.action = threshold, action

    def act(self, observation: npt.ArrayLike) -> Action:
        early = self.features.raw(observation, "progress") < 0.2
        flat = not early and self.features.raw(observation, "slow_slope") > -self.threshold
        return np.array([self.action if flat and name == "learning_rate" else 0.0 for name in self.names])

    @classmethod
    def bounds(cls, task: Task) -> tuple[Bound, ...]:
        return (Bound("threshold", 1e-4, 0.1, 0.005, log=True), Bound("action", -1.0, 0.0, -1.0))

    @classmethod
    def of(cls, task: Task, vector: Vector) -> Self:
        return cls(task, *_checked(cls, task, vector))


def _checked(kind: type[Tunable], task: Task, vector: Vector) -> list[float]:
    """The numbers of a vector. Raises TunemaxError if there are too many or too few, or one is not finite."""
    numbers = np.asarray(vector, dtype=np.float64)
    count = len(kind.bounds(task))
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise TunemaxError(f"{kind.__name__}: a vector of shape {numbers.shape}; expected {count} finite numbers")
    found: list[float] = numbers.tolist()
    return found
