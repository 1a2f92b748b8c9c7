"""Instances: the concrete trainings that agents are trained, compared and judged on.

An instance is a function of its set and its index alone. The sets have seeds, text and initial controls of their own,
so what is measured on one has never been seen on another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tunemax.envs.disturbances import Disturbance, drawn
from tunemax.envs.task import Task
from tunemax.envs.variation import HORIZON, SIZES
from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.random import key

Part = tuple[float, float]
"""Where a part of a text begins and ends, as shares of it."""

WRONG = math.log(10)
"""How far initial controls are off at most, in a dial's coordinate: a factor of 10, or as much in log-odds or nats."""
SHARE = 0.05
"""The part of the training text that one instance sees."""
WHOLE: Part = (0.0, 1.0)


@dataclass(frozen=True)
class Instance:
    """One training to steer.

    name: how it is called in tables, `set/index` for drawn ones. seed: initial weights, order of data, dropout.
    data: its part of the training text.
    horizon: iterations. controls: values of fields at the start. size: fields in which it is another training than the
    task's, such as widths. events: what happens to it on the way. measured: the part of the validation slice where its
    reward windows lie, and of the test slice where its test windows do.
    """

    name: str
    seed: int
    data: Part
    horizon: int
    controls: Mapping[str, float] = field(default_factory=dict)
    size: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Disturbance, ...] = ()
    measured: Part = WHOLE

    def config(self, task: Task, iteration: int = 0) -> Config:
        """The configuration of its training, as it stands when so many iterations are over.

        Raises TunemaxError for fields that the task's training does not have.
        """
        start, end = self.data
        own = {"seed": self.seed, "data_start": start, "data_end": end, "max_iters": self.horizon}
        try:
            config = task.config_of({**self.size, **self.controls, **own})
            for event in self.events:
                event.check(config)
                if event.iteration < iteration and (fields := event.fields()):
                    config = config.replace(fields)
        except TunemaxError as error:
            raise TunemaxError(f"instance {self.name}: {error}") from error
        return config


@dataclass(frozen=True)
class InstanceSet:
    """A named set of instances: indices 0 … count − 1, a range of seeds, and text of its own.

    zone: its part of the training text. measured: of the validation slice and of the test slice, see `Instance`.
    """

    name: str
    seeds_from: int
    zone: Part
    measured: Part
    count: int
    transfer: tuple[str, ...] = ()
    """The fields of which it draws what is held out."""
    larger: int = 1
    """Width and depth relative to the task's, where nothing varies."""
    longer: tuple[int, ...] = (1,)
    """Horizons relative to the task's, by turns, where nothing varies."""

    def draw(self, task: Task, index: int) -> Instance:
        """The instance of an index: the same one for ever. Raises TunemaxError for an index outside the set."""
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < self.count:
            raise TunemaxError(
                f"instance = {index}: expected a whole number from 0 to {self.count - 1}, an index of set {self.name}"
            )
        self.check(task)
        of = partial(_uniform, self.name, index)
        values = task.config.held()
        controls: dict[str, float] = {}
        for dial in task.dials:
            off = (2 * of(dial.name) - 1) * WRONG
            controls |= dial.fields(dial.shifted(dial.read(values), off), values)
        horizon, size = self._sizes(task, index)
        name, seed, part = f"{self.name}/{index}", self.seeds_from + index, self._part(of("data"))
        measured = WHOLE if task.whole_slices else self.measured
        made = Instance(name, seed, part, horizon, controls, size, measured=measured)
        if not task.events:
            return made
        return replace(made, events=drawn(task.events, made.config(task), task.frame_skip, self._part, of))

    def check(self, task: Task) -> None:
        """Refuse a task that holds nothing out for this set."""
        if self.transfer and task.varied and not any(task.held_out(name) for name in self.transfer):
            name = next((name for name in self.transfer if name in task.varied), self.transfer[0])
            remedy = f"hold some values of {name} out, by held_out in its vary or by --held-out"
            raise TunemaxError(f"set = {self.name}: the task holds nothing out for it; {remedy}")

    def horizons(self, task: Task) -> tuple[int, ...]:
        """The horizons of its instances, each once."""
        if HORIZON in self.transfer and task.varied:
            return task.held_out(HORIZON)
        return tuple(horizon * times for horizon in task.horizons for times in self.longer)

    def steps(self, task: Task) -> int:
        """Of the longest episode of its instances."""
        return task.steps(max(self.horizons(task)))

    def _sizes(self, task: Task, index: int) -> tuple[int, dict[str, Any]]:
        """Horizon, and the fields in which the training is another one than the task's."""
        own = {
            name: each.draw(_uniform(self.name, index, "vary", name), transfer=name in self.transfer)
            for name, each in task.varied.items()
        }
        if task.varied:
            return int(own.pop(HORIZON, task.horizon)), task.sized(own)
        model = task.config.model
        size = {"n_layer": model.n_layer * self.larger, "n_embd": model.n_embd * self.larger} if self.larger > 1 else {}
        return task.horizon * self.longer[index % len(self.longer)], size

    def _part(self, place: float) -> Part:
        """The part of the training text at a place in [0, 1) of the zone."""
        start = self.zone[0] + place * (self.zone[1] - self.zone[0] - SHARE)
        return start, start + SHARE


SETS = {
    made.name: made
    for made in (
        InstanceSet("train", 1_000_000, (0.0, 0.55), (0.0, 0.2), count=4096),
        InstanceSet("validation", 2_000_000, (0.55, 0.7), (0.2, 0.4), count=64),
        InstanceSet("test", 3_000_000, (0.7, 0.85), (0.4, 0.6), count=256),
        InstanceSet("larger", 4_000_000, (0.85, 0.925), (0.6, 0.8), count=64, transfer=SIZES, larger=2),
        InstanceSet("longer", 5_000_000, (0.925, 1.0), (0.8, 1.0), count=64, transfer=(HORIZON,), longer=(2, 4)),
    )
}
"""Learn on train, choose on validation, report test; larger and longer trainings ask for transfer.

All sets are measured on as many windows, so each has a fifth of the validation slice and of the test slice.
Where a task varies something, transfer sets draw what it holds out, so what they ask for has varied; else twice the
width and depth, and two and four times the horizon.
"""


def find_set(name: str) -> InstanceSet:
    """The set of this name. Raises TunemaxError for an unknown one."""
    if name not in SETS:
        raise TunemaxError(f"set = {name}: no such set of instances{did_you_mean(str(name), SETS)}")
    return SETS[name]


def _uniform(*words: str | int) -> float:
    """A number in [0, 1) that is a function of words; no generator's version can change it."""
    return key(0, "instance", *words) / 2**63
