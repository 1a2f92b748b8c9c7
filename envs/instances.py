"""Instances: the concrete trainings that agents are trained, compared and judged on.

An instance is a function of its set and its index alone. The sets have seeds, text and initial controls of their own,
so what is measured on one has never been seen on another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunemax.envs.task import Task
from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.random import key

WRONG = math.log(10)
"""How far initial controls are off at most, in a dial's coordinate: a factor of 10, or as much in log-odds or nats."""
SHARE = 0.05
"""The part of the training text that one instance sees."""


@dataclass(frozen=True)
class Instance:
    """One training to steer.

    name: how it is called in tables, `set/index` for drawn ones. seed: initial weights, order of data, dropout.
    data: where its part of the training text begins and ends, as shares of the text.
    horizon: iterations. controls: values of fields at the start. size: fields that make the model another one.
    """

    name: str
    seed: int
    data: tuple[float, float]
    horizon: int
    controls: Mapping[str, float] = field(default_factory=dict)
    size: Mapping[str, Any] = field(default_factory=dict)

    def config(self, task: Task) -> Config:
        """The configuration of its training. Raises TunemaxError for fields that the task's training does not have."""
        start, end = self.data
        own = {"seed": self.seed, "data_start": start, "data_end": end, "max_iters": self.horizon}
        return task.config.replace({**self.size, **self.controls, **own})


@dataclass(frozen=True)
class InstanceSet:
    """A named set of instances: indices 0 … count − 1, a range of seeds, a zone of the training text."""

    name: str
    seeds_from: int
    zone: tuple[float, float]
    count: int
    larger: int = 1
    """Width and depth, relative to the task's."""
    longer: tuple[int, ...] = (1,)
    """Horizons relative to the task's, by turns."""

    def draw(self, task: Task, index: int) -> Instance:
        """The instance of an index: the same one for ever. Raises TunemaxError for an index outside the set."""
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < self.count:
            raise TunemaxError(
                f"instance = {index}: expected a whole number from 0 to {self.count - 1}, an index of set {self.name}"
            )
        start = self.zone[0] + _uniform(self.name, index, "data") * (self.zone[1] - self.zone[0] - SHARE)
        values = task.config.held()
        controls: dict[str, float] = {}
        for dial in task.dials:
            off = (2 * _uniform(self.name, index, dial.name) - 1) * WRONG
            controls |= dial.fields(dial.shifted(dial.read(values), off), values)
        model = task.config.model
        size = {"n_layer": model.n_layer * self.larger, "n_embd": model.n_embd * self.larger} if self.larger > 1 else {}
        horizon, part = task.horizon * self.longer[index % len(self.longer)], (start, start + SHARE)
        return Instance(f"{self.name}/{index}", self.seeds_from + index, part, horizon, controls, size)


SETS = {
    made.name: made
    for made in (
        InstanceSet("train", 1_000_000, (0.0, 0.55), count=4096),
        InstanceSet("validation", 2_000_000, (0.55, 0.7), count=64),
        InstanceSet("test", 3_000_000, (0.7, 0.85), count=256),
        InstanceSet("larger", 4_000_000, (0.85, 0.925), count=64, larger=2),
        InstanceSet("longer", 5_000_000, (0.925, 1.0), count=64, longer=(2, 4)),
    )
}
"""Learn on train, choose on validation, report test; larger and longer trainings ask for transfer."""


def find_set(name: str) -> InstanceSet:
    """The set of this name. Raises TunemaxError for an unknown one."""
    if name not in SETS:
        raise TunemaxError(f"set = {name}: no such set of instances{did_you_mean(str(name), SETS)}")
    return SETS[name]


def _uniform(*words: str | int) -> float:
    """A number in [0, 1) that is a function of words; no generator's version can change it."""
    return key(0, "instance", *words) / 2**63
