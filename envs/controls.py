"""What an action moves, by how much, and between which bounds.

Which fields are controls, and how each moves, is said where they are declared: `control=` in `gpt/config.py` and in the
classes of variants. A dial is one number of a running training: such a field, or the gain of constantmax. An action is
one number in [-1, 1] a dial; 0 leaves it alone, ±1 moves it by a factor of 1.5 (or by ln 1.5, in log-odds or in the
field's own unit).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from tunemax.gpt.config import Config, all_specs, resolve
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import Move, shown

Moves = npt.NDArray[np.float64]
Form = Literal["box", "absolute", "multidiscrete", "discrete"]
FORMS: tuple[Form, ...] = get_args(Form)

STRIDE = math.log(1.5)
"""How far the action 1 moves a dial, in its own coordinate: the logarithm, the log-odds, or the value itself."""
STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""What the discrete forms can say."""
ODDS = 0.05
"""A dial that moves by log-odds has this share left at its bounds, so that it can leave them again."""

GAIN = "gain"
"""The name of g = −β·ln b − ln γ, all of constantmax's function that β and γ decide together."""
BETA, GAMMA, BASE = "constantmax.beta", "constantmax.gamma", "constantmax.base"


@dataclass(frozen=True)
class Dial:
    """One number that actions move."""

    name: str
    move: Move
    low: float
    high: float

    def read(self, values: Mapping[str, Any]) -> float:
        """Its value in the active fields of a member."""
        return float(values[self.name])

    def fields(self, value: float, values: Mapping[str, Any]) -> dict[str, float]:
        """The fields that put it to a value, in a member with these fields."""
        return {self.name: value}

    @property
    def field(self) -> str:
        """The field that it moves, which must mean something where it is steered."""
        return self.name

    @property
    def learnables(self) -> tuple[str, ...]:
        """The fields that SGD must leave alone while actions move this dial."""
        return (self.name,) if all_specs()[self.name].declared.learnable else ()

    def moved(self, value: float, action: float) -> float:
        """The value after an action in [-1, 1]; 0 leaves the same number, and rounding never moves it the other way."""
        if not action:
            return value
        further = max if action > 0 else min
        return further(self.shifted(value, action * STRIDE), self._within(value))

    def shifted(self, value: float, distance: float) -> float:
        """The value some way further in the dial's own coordinate, but within the bounds."""
        return self._from(self._to(self._within(value)) + distance)

    def unit(self, value: float) -> float:
        """Where a value lies between the bounds, in [-1, 1], as the dial moves."""
        low, high = self._to(self.low), self._to(self.high)
        return 2 * (self._to(self._within(value)) - low) / (high - low) - 1

    def at(self, unit: float) -> float:
        """The value at a place in [-1, 1] between the bounds; `at(unit(x))` is x, to rounding."""
        low, high = self._to(self.low), self._to(self.high)
        return self._from(low + (min(max(unit, -1.0), 1.0) + 1) / 2 * (high - low))

    def action_towards(self, value: float, target: float) -> float:
        """The action in [-1, 1] that brings a value as near to a target as one step can."""
        distance = self._to(self._within(target)) - self._to(self._within(value))
        return min(max(distance / STRIDE, -1.0), 1.0)

    def _within(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def _to(self, value: float) -> float:
        if self.move == "multiplicative":
            return math.log(value)
        if self.move == "additive":
            return value
        share = ODDS + (1 - 2 * ODDS) * (value - self.low) / (self.high - self.low)
        return math.log(share / (1 - share))

    def _from(self, place: float) -> float:
        place = min(max(place, self._to(self.low)), self._to(self.high))
        if self.move == "multiplicative":
            value = math.exp(place)
        elif self.move == "additive":
            value = place
        else:
            share = 1 / (1 + math.exp(-place))
            value = self.low + (share - ODDS) / (1 - 2 * ODDS) * (self.high - self.low)
        return self._within(value)


@dataclass(frozen=True)
class Gain(Dial):
    """g = −β·ln b − ln γ as one dial: β stays where it is, γ follows."""

    def read(self, values: Mapping[str, Any]) -> float:
        return gain(values[BETA], math.log(values[GAMMA]), values[BASE])

    def fields(self, value: float, values: Mapping[str, Any]) -> dict[str, float]:
        return {GAMMA: math.exp(-values[BETA] * math.log(values[BASE]) - value)}

    @property
    def field(self) -> str:
        return GAMMA

    @property
    def learnables(self) -> tuple[str, ...]:
        return (BETA, GAMMA)


@dataclass(frozen=True)
class LayerDial(Dial):
    """A learnable in one layer, as ``constantmax.gamma@0``: SGD holds it, but leaves it where it is."""

    @property
    def field(self) -> str:
        return self.name.partition("@")[0]

    def read(self, values: Mapping[str, Any]) -> float:
        return float(values.get(self.name, values[self.field]))

    @property
    def learnables(self) -> tuple[str, ...]:
        return ()


def gain(beta: float, log_gamma: float, base: float) -> float:
    """What constantmax adds to every exponent: its weights are b^(x − β) / γ = e^(x·ln b + g)."""
    return -beta * math.log(base) - log_gamma


def find_dial(name: str, config: Config) -> Dial:
    """The dial of this name for members of a configuration. Raises TunemaxError for what cannot be moved there."""
    values = config.held()
    specs = all_specs()
    movable = {
        field: spec.declared.control for field, spec in specs.items() if spec.declared.control and field in values
    }
    if name == GAIN:
        if GAMMA not in values:
            raise TunemaxError(
                f"control gain: means nothing for {config.softmax.name}; it needs softmax_variant = constantmax"
            )
        control, at_zero = movable[GAMMA], gain(values[BETA], 0.0, values[BASE])
        return Gain(GAIN, "additive", at_zero - math.log(control.high), at_zero - math.log(control.low))
    field, at, layer = name.partition("@")
    if "." not in field and field not in specs:
        raise TunemaxError(f"control {shown(name)}: no such field{did_you_mean(field, [*movable, GAIN])}")
    known = resolve(field)
    if specs[known].declared.control is None:
        raise TunemaxError(
            f"control {known}: cannot change while a training runs; choose of {', '.join([*movable, GAIN])}"
        )
    if known not in movable:
        raise TunemaxError(f"control {known}: means nothing in this configuration; choose of {', '.join(movable)}")
    control = movable[known]
    ends = control.move, float(control.low), float(control.high)
    if not at:
        return Dial(known, *ends)
    layers = config.model.n_layer
    if known.rpartition(".")[2] not in config.softmax.learned():
        raise TunemaxError(f"control {shown(name)}: all layers share {known}; leave out @{shown(layer)}")
    if layer not in map(str, range(layers)):
        raise TunemaxError(f"control {shown(name)}: no such layer; expected {known}@0 to {known}@{layers - 1}")
    return LayerDial(f"{known}@{layer}", *ends)


class Actions:
    """One way to write actions for some dials: its space, and the numbers in [-1, 1] that an action of it stands for.

    box: a number in [-1, 1] a dial, 0 leaves it alone. absolute: the same space, but the number is the place between
    the bounds that the dial is put to. multidiscrete: one of STEPS a dial, the third leaves it alone. discrete: all
    dials in one number, its digits to base 5 (the first dial's is the lowest).
    """

    def __init__(self, form: str, dials: int) -> None:
        if form not in FORMS:
            raise TunemaxError(f"action = {shown(form)}: no such form{did_you_mean(str(form), FORMS)}")
        if form == "discrete" and dials > 4:
            raise TunemaxError(
                f"action = discrete: {len(STEPS)} to the power of {dials} actions are too many; use multidiscrete"
            )
        self.form = form
        self.dials = dials

    @property
    def space(self) -> spaces.Space[Any]:
        if self.form == "multidiscrete":
            return spaces.MultiDiscrete([len(STEPS)] * self.dials)
        if self.form == "discrete":
            return spaces.Discrete(len(STEPS) ** self.dials)
        return spaces.Box(-1.0, 1.0, (self.dials,), np.float32)

    def read(self, action: Any) -> Moves:
        """Numbers (dials,) in [-1, 1]; a box is clipped. Raises TunemaxError for a wrong shape or kind, and for NaN."""
        given = np.asarray(action)
        one = given.reshape(1) if self.form == "discrete" and given.size == 1 else given[None]
        moves: Moves = self.read_all(one)[0]
        return moves

    def read_all(self, actions: Any) -> Moves:
        """The same of N actions at once: (N, dials)."""
        given = np.asarray(actions)
        if self.form == "discrete":
            count = len(STEPS) ** self.dials
            fine = given.ndim == 1 and given.dtype.kind in "iu" and (given >= 0) & (given < count)
            _refuse(given, fine, f"one whole number from 0 to {count - 1}")
            return np.array(STEPS)[given[:, None] // len(STEPS) ** np.arange(self.dials) % len(STEPS)]
        if given.shape[1:] != (self.dials,):
            raise TunemaxError(f"action of shape {given.shape[1:]}: expected ({self.dials},), one number a control")
        if self.form == "multidiscrete":
            fine = given.dtype.kind in "iu" and (given >= 0) & (given < len(STEPS))
            _refuse(given, fine, f"whole numbers from 0 to {len(STEPS) - 1}")
            return np.asarray(np.array(STEPS)[given])
        _refuse(given, given.dtype.kind in "fiu" and np.isfinite(given), "finite numbers in [-1, 1]")
        return np.asarray(np.clip(given.astype(np.float64), -1.0, 1.0))


def _refuse(actions: npt.NDArray[Any], fine: bool | npt.NDArray[np.bool_], expected: str) -> None:
    """Refuse actions (N, …) of which not all is fine, and show the first of those."""
    if not np.all(fine):
        wrong = ~np.broadcast_to(fine, actions.shape).reshape(len(actions), -1).all(1)
        raise TunemaxError(f"action = {shown(actions[wrong][0])}: expected {expected}")
