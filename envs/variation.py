"""What the trainings of a task differ in beside seed, text and wrong starts, so that no one setting is best for all.

Training, validation and test draw a field from the same values; what is held out is drawn by the transfer sets alone:
sizes by `larger`, horizons by `longer`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from tunemax.gpt.config import all_specs, resolve
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import FieldSpec, Value, shown

HORIZON = "horizon"
"""Iterations of an episode: what the field `max_iters` is to a training."""
SIZES = ("n_embd", "n_layer", "n_head", "block_size", "batch_size")
"""Fields of which values can be held out for `larger`."""
OF_AN_INSTANCE = ("seed", "data_start", "data_end", "max_iters", "eval_by", "eval_slice", "eval_tokens", "eval_iters")
"""An instance has these of its own, or no two trainings of a task may differ in them."""


@dataclass(frozen=True)
class Varied:
    """Of one field: the values that instances draw from, each as likely as the others.

    values: in training, validation and test; none leaves the task's own. held_out: in the transfer sets. low, high: a
    range in place of values, log-uniform where it is above 0, for fields that are no whole numbers.
    """

    values: tuple[Value, ...] = ()
    held_out: tuple[Value, ...] = ()
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, name: str, given: Any) -> Self:
        """What an argument says: a list of values, or names with values as above. Raises TunemaxError."""
        if isinstance(given, cls):
            return given
        plain = given if isinstance(given, Mapping) else {"values": given}
        known = [each.name for each in fields(cls)]
        for key in plain:
            if key not in known:
                raise TunemaxError(f"vary {name}: {shown(key)}: no such name{did_you_mean(str(key), known)}")
        lists = {key: value for key, value in plain.items() if key in ("values", "held_out")}
        for key, value in lists.items():
            if not isinstance(value, (list, tuple)):
                raise TunemaxError(f"vary {name}: {key} = {shown(value)}: expected a list of values")
        if "values" in lists and not lists["values"]:
            raise TunemaxError(f"vary {name}: no values are left for training, validation and test; give at least one")
        return cls(**{**plain, **{key: tuple(value) for key, value in lists.items()}})

    def checked(self, name: str, base: Value) -> Varied:
        """The same with values as the field's type; `base` is the task's own. Raises TunemaxError for what cannot be
        drawn."""
        spec = spec_of(name)
        values, held_out = (tuple(map(spec.check, given)) for given in (self.values, self.held_out))
        low, high = (None if end is None else spec.check(end) for end in (self.low, self.high))
        if (low is None) != (high is None) or (low is not None and (values or low >= high)):
            raise TunemaxError(f"vary {name}: expected low < high, both or neither, and no values beside them")
        if low is not None and not spec.is_scalar:
            raise TunemaxError(f"vary {name}: a range is for numbers that are not whole; give a list of values")
        if low is None and not values:
            values = (base,)
        drawn = [*values, *held_out]
        if twice := [value for value in drawn if drawn.count(value) > 1]:
            raise TunemaxError(f"vary {name}: {shown(twice[0])} is given twice, or both drawn and held out; keep one")
        if any(low is not None and low <= value <= high for value in held_out):
            raise TunemaxError(f"vary {name}: what is held out lies between low and high; leave it out of the range")
        if held_out and name not in (*SIZES, HORIZON):
            held = ", ".join((*SIZES, HORIZON))
            raise TunemaxError(f"vary {name}: no transfer set draws it, so nothing can be held out; that is for {held}")
        if low is None and len(drawn) < 2:
            raise TunemaxError(f"vary {name}: {shown(drawn[0])} alone does not vary; give more, or put it into config")
        return Varied(values, held_out, low, high)

    @property
    def numeric(self) -> bool:
        return not isinstance((*self.values, *self.held_out, self.low)[0], (str, bool))

    def draw(self, place: float, transfer: bool = False) -> Value:
        """The value at a place in [0, 1). transfer: of what is held out, if anything is."""
        values = self.held_out if transfer and self.held_out else self.values
        if values:
            return values[int(place * len(values))]
        return self._from(self.place(self.low) + place * (self.place(self.high) - self.place(self.low)))

    def unit(self, value: Any) -> float:
        """Where a number lies in what training draws from, in [-1, 1], by its logarithm if all are above 0."""
        middle, half = self.range
        return (self.place(value) - middle) / half

    @property
    def range(self) -> tuple[float, float]:
        """Middle and half width of what training draws from, as `place` has them; a single value is 1 wide to either
        side. Rounded, since they are compared, and logarithms differ in their last digits from machine to machine."""
        ends = [self.place(each) for each in (self.values or (self.low, self.high))]
        middle, half = (min(ends) + max(ends)) / 2, (max(ends) - min(ends)) / 2
        return float(f"{middle:.13g}"), float(f"{half:.13g}") or 1.0

    @property
    def _log(self) -> bool:
        return all(
            float(each) > 0 for each in (*self.values, *self.held_out, *([] if self.low is None else [self.low]))
        )

    def place(self, value: Any) -> float:
        """A number by its logarithm, if all that are drawn are above 0."""
        return math.log(value) if self._log else float(value)

    def _from(self, place: float) -> float:
        return math.exp(place) if self._log else place


def spec_of(name: str) -> FieldSpec:
    return all_specs()["max_iters" if name == HORIZON else name]


def named(name: str) -> str:
    """The flat name of what may vary. Raises TunemaxError for what is no field, or no two trainings can differ in."""
    if name == HORIZON:
        return name
    known = resolve(name)
    if known in OF_AN_INSTANCE or not all_specs()[known].declared.identity or all_specs()[known].group == "logging":
        raise TunemaxError(f"vary {known}: trainings of a task cannot differ in it; leave it out")
    return known
