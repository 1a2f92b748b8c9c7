"""What happens to a training on its way: a disturbance is applied between two steps, and the agent is not told.

An instance has them with the iterations at which they come. A training in memory is a snapshot, so each is a function
from one snapshot to the next: whoever goes on from a state goes on through what is still to come.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from tunemax.envs.controls import find_dial
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import shown

if TYPE_CHECKING:
    from tunemax.gpt.config import Config
    from tunemax.gpt.layout import Layout
    from tunemax.gpt.snapshot import Snapshot

RATE = "learning_rate"

Uniform = Callable[[str], float]
"""A number in [0, 1) for a word."""
Place = Callable[[float], tuple[float, float]]
"""The part of a text, as shares of it, that a number in [0, 1) stands for."""


@dataclass(frozen=True)
class Disturbance(ABC):
    """Something that happens before the step which begins at this iteration."""

    iteration: int

    @classmethod
    @abstractmethod
    def asked(cls, given: Any, controls: Sequence[str]) -> Any:
        """What a task says of it, checked; None if it says that there is none. Raises TunemaxError."""

    @classmethod
    @abstractmethod
    def draw(cls, asked: Any, iteration: int, config: Config, place: Place, of: Uniform) -> Self:
        """One of those that a task asks for, in a training of this configuration."""

    def fields(self) -> dict[str, Any]:
        """What it changes of the configuration."""
        return {}

    def check(self, config: Config) -> None:  # noqa: B027 - most can happen to any training
        """Refuse a training that it cannot happen to."""

    @abstractmethod
    def after(self, snapshot: Snapshot, layout: Layout) -> Snapshot:
        """What a training is after it."""


@dataclass(frozen=True)
class Shift(Disturbance):
    """From here on another text: a dataset, and its part between two shares. It is measured on its own slices."""

    dataset: str
    data: tuple[float, float]

    @classmethod
    def asked(cls, given: Any, controls: Sequence[str]) -> Any:
        if not isinstance(given, (list, tuple)) or not given or not all(isinstance(text, str) for text in given):
            raise TunemaxError(f"disturb text = {shown(given)}: expected a list of datasets, one of which comes then")
        return tuple(given)

    @classmethod
    def draw(cls, asked: Any, iteration: int, config: Config, place: Place, of: Uniform) -> Self:
        return cls(iteration, asked[int(of("dataset") * len(asked))], place(of("data")))

    def fields(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "data_start": self.data[0], "data_end": self.data[1]}

    def after(self, snapshot: Snapshot, layout: Layout) -> Snapshot:
        return replace(snapshot, config=snapshot.config.replace(self.fields()))


@dataclass(frozen=True)
class Spike(Disturbance):
    """The learning rate times a factor, within the bounds of the control; it stays until somebody moves it."""

    factor: float

    @classmethod
    def asked(cls, given: Any, controls: Sequence[str]) -> Any:
        numbers = isinstance(given, (list, tuple)) and all(type(end) in (int, float) for end in given)
        if not numbers or len(given) != 2 or not 0 < given[0] <= given[1] < math.inf:
            raise TunemaxError(
                f"disturb rate = {shown(given)}: expected the least and the largest factor, both above 0"
            )
        if RATE not in controls:
            raise TunemaxError(f"disturb rate: nobody could put it right; make {RATE} a control, or leave it out")
        return tuple(given)

    @classmethod
    def draw(cls, asked: Any, iteration: int, config: Config, place: Place, of: Uniform) -> Self:
        low, high = asked
        return cls(iteration, low * (high / low) ** of("factor"))

    def after(self, snapshot: Snapshot, layout: Layout) -> Snapshot:
        rate = find_dial(RATE, snapshot.config).shifted(snapshot.values[RATE], math.log(self.factor))
        return replace(snapshot, values={**snapshot.values, RATE: rate})


@dataclass(frozen=True)
class Restart(Disturbance):
    """A layer goes back to its weights at the start, and to moments of 0."""

    layer: int

    @classmethod
    def asked(cls, given: Any, controls: Sequence[str]) -> Any:
        if not isinstance(given, bool):
            raise TunemaxError(f"disturb layer = {shown(given)}: expected true or false; which layer is drawn")
        return given or None

    @classmethod
    def draw(cls, asked: Any, iteration: int, config: Config, place: Place, of: Uniform) -> Self:
        return cls(iteration, int(of("layer") * config.model.n_layer))

    def check(self, config: Config) -> None:
        if not 0 <= self.layer < (layers := config.model.n_layer):
            raise TunemaxError(f"restart of layer {self.layer}: the model has layers 0 to {layers - 1}")

    def after(self, snapshot: Snapshot, layout: Layout) -> Snapshot:
        start, moments = layout.split(layout.start(snapshot.config)), snapshot.config.optimizer.moments
        anew = dict(snapshot.tensors)
        for name, part in layout.used(snapshot.config).items():
            if name.startswith(f"h.{self.layer}."):
                weights = start[name][part].to(anew[f"theta/{name}"].dtype)
                anew |= {f"theta/{name}": weights, **{f"{moment}/{name}": weights * 0 for moment in moments}}
        return replace(snapshot, tensors=anew)


KINDS: Mapping[str, type[Disturbance]] = {"text": Shift, "rate": Spike, "layer": Restart}
"""By the names that a task has for them."""


def checked(disturb: Mapping[str, Any], controls: Sequence[str]) -> dict[str, Any]:
    """What a task asks for, by kind. Raises TunemaxError for what is unknown or cannot be drawn."""
    for kind in disturb:
        if kind not in KINDS:
            raise TunemaxError(f"disturb {shown(kind)}: no such disturbance{did_you_mean(str(kind), KINDS)}")
    asked = {kind: KINDS[kind].asked(given, controls) for kind, given in disturb.items()}
    return {kind: each for kind, each in asked.items() if each is not None}


def drawn(
    disturb: Mapping[str, Any], config: Config, frame_skip: int, place: Place, of: Uniform
) -> tuple[Disturbance, ...]:
    """One of each kind that a task asks for, before a step of the middle three fifths of a training."""
    steps = config.train.max_iters // frame_skip
    first = max(1, math.ceil(0.2 * steps))
    last = max(first, math.floor(0.8 * steps))
    events = []
    for kind, asked in disturb.items():
        at = first + int(of(f"{kind}/step") * (last - first + 1))
        of_kind = partial(_of, of, kind)
        events.append(KINDS[kind].draw(asked, at * frame_skip, config, place, of_kind))
    return tuple(sorted(events, key=lambda event: event.iteration))


def _of(uniform: Uniform, kind: str, word: str) -> float:
    return uniform(f"{kind}/{word}")
