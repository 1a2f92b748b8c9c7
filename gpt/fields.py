"""A field is declared once: its metadata, and the one walker over it.

A field is an attribute of a `Fields` class with a `setting(...)` as its default. Type, default, help and valid range
are pydantic's; search range, condition, control and stacking are ours. Whoever needs to know the fields (the check of a
config, the command line, a study's space, an RL action, the reference in docs/) walks `specs_of` and finds the rest
there.
"""

from __future__ import annotations

import operator
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar, cast

import annotated_types
import pydantic

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.numbers import MOST, whole_number

Value = bool | int | float | str
T = TypeVar("T")


@dataclass(frozen=True)
class Above:
    """In a condition: the numbers above this one."""

    bound: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, (int, float)) and value > self.bound


Allowed = tuple[Value, ...] | Above
Condition = Mapping[str, Allowed]
"""Holds if each named field has one of its values."""
Move = Literal["additive", "multiplicative", "logit"]


class Fields(pydantic.BaseModel):
    """A group of fields: frozen, no unknown names, no NaN or infinity."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    def canonical(self, config: Any) -> Mapping[str, Value]:
        """What this group of a configuration is called where configurations are told apart, as far as that is not what
        it is called here: flat fields, of this group or naming its kind.

        Whatever trains the same thing, bit for bit, on every text, has one canonical form; a kind that is another one
        in some setting says so. Of several forms it is the one with fewer fields, then the one that older versions
        knew, so that what they have stored stays what it is.

        config: the `Config` that it is a group of.
        """
        return {}


@dataclass(frozen=True)
class Range:
    """A numeric search range, both ends included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None


@dataclass(frozen=True)
class Choices:
    """A categorical search range."""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Control:
    """How an action moves a field while a training runs, and between which bounds."""

    move: Move
    low: float
    high: float


@dataclass(frozen=True)
class Declaration:
    """What tunemax adds to a pydantic field; see `setting`."""

    help: str
    search: Range | Choices | None
    when: Condition
    any_of: tuple[Condition, ...]
    control: Control | None
    learnable: bool
    shared: bool
    switch: bool
    identity: bool
    neutral: Value | None
    inert_as: Value | None


@dataclass(frozen=True)
class _Declared:
    """Makes the declaration of a field, as it is now."""

    now: Callable[[], Declaration]


def setting(
    default: Value,
    help: str | Callable[[], str],
    *,
    search: Range | Choices | Callable[[], Range | Choices] | None = None,
    when: Condition | Callable[[], Condition] | None = None,
    any_of: Sequence[Condition] | Callable[[], Sequence[Condition]] = (),
    control: Control | None = None,
    learnable: bool = False,
    shared: bool = False,
    switch: bool = False,
    identity: bool = True,
    neutral: Value | None = None,
    inert_as: Value | None = None,
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
) -> Any:
    """Declare a field. What depends on the kinds that are registered is given as a function.

    search: its dimension when a study asks for the field without a range of its own.
    when: the condition under which the field means anything; else it is inert.
    any_of: further conditions, one of which must hold too.
    control: how it moves during training; None if it cannot.
    learnable: SGD may move it; it then has columns in `theta` and is only started here.
    shared: members must agree on it to be stacked in one trainer.
    switch: 0 switches off what it is the amount of; stacked members must agree on whether it is 0.
    identity: it can change what is trained or measured (where files go cannot).
    neutral: for a field added to a released tunemax: the value at which older code would have trained the same thing.
    inert_as: for a field whose condition was added later: the value that stands for it in the identity where it is
    inert, as it did before.
    gt, ge, lt, le: the valid range.
    """

    def declared() -> Declaration:
        return Declaration(
            _now(help),
            _now(search),
            _now(when or {}),
            tuple(_now(any_of)),
            control,
            learnable,
            shared,
            switch,
            identity,
            neutral,
            inert_as,
        )

    info: Any = pydantic.Field(default, gt=gt, ge=ge, lt=lt, le=le)
    info.metadata.append(_Declared(declared))
    return info


def _now(late: T | Callable[[], T]) -> T:
    return late() if callable(late) else late


@dataclass(frozen=True)
class FieldSpec:
    """One field as the walker sees it, under the name that users type (``learning_rate``, ``constantmax.gamma``)."""

    name: str
    group: str
    info: pydantic.fields.FieldInfo
    declared: Declaration
    when: Condition
    any_of: tuple[Condition, ...] = ()

    @property
    def annotation(self) -> Any:
        return self.info.annotation

    @property
    def default(self) -> Any:
        return self.info.default

    @property
    def help(self) -> str:
        return self.declared.help

    @property
    def is_scalar(self) -> bool:
        """A float that may differ between stacked members. Everything else chooses a code path or a shape."""
        return self.annotation is float and not self.declared.shared

    def kept_apart(self, value: Value) -> Value | None:
        """What stacked members must agree on of this value: all of it, whether it is 0, or nothing."""
        if self.declared.shared:
            return value
        return bool(value) if self.declared.switch else None

    @property
    def options(self) -> tuple[Value, ...]:
        """The allowed values of a Literal or a bool, else nothing."""
        if self.annotation is bool:
            return (False, True)
        return typing.get_args(self.annotation) if typing.get_origin(self.annotation) is Literal else ()

    @property
    def names(self) -> tuple[Value, ...]:
        """What a text may say that names one of a registry, such as a softmax variant; else nothing."""
        searched = self.declared.search
        return searched.values if self.annotation is str and isinstance(searched, Choices) else ()

    def active(self, values: Mapping[str, Any]) -> bool:
        """Whether the field means anything beside these values, which may lack other variants' fields."""

        return self._met(lambda name, allowed: values.get(name) in allowed)

    def can_be_active(self, values: Mapping[str, Any]) -> bool:
        """Whether it is active beside these values, or would be if a number that may move meanwhile did."""
        return self._met(lambda name, allowed: isinstance(allowed, Above) or values.get(name) in allowed)

    def _met(self, holds: Callable[[str, Allowed], bool]) -> bool:
        def all_of(condition: Condition) -> bool:
            return all(holds(name, allowed) for name, allowed in condition.items())

        return all_of(self.when) and (not self.any_of or any(all_of(condition) for condition in self.any_of))

    @property
    def depends_on(self) -> set[str]:
        """The fields that its conditions name."""
        return {name for condition in (self.when, *self.any_of) for name in condition}

    def check(self, value: Any) -> Any:
        """The value as the field's type, or a TunemaxError that says what was expected.

        Text is read as a number, a truth value or an option where the field is one; a truth value is no number.
        """
        if isinstance(value, bool) and self.annotation in (int, float):
            raise TunemaxError(f"{self.name} = {shown(value)}: expected {self.valid()}")
        if isinstance(value, str):
            value = next((option for option in self.options if shown(option) == value), value)
            if self.annotation is int and (number := whole_number(value)) is not None:
                value = number
        try:
            checked = self._adapter.validate_python(value)
        except pydantic.ValidationError as error:
            raise TunemaxError(f"{self.name} = {shown(value)}: expected {self.valid()}") from error
        if self._too_many(checked):
            raise TunemaxError(f"{self.name} = {shown(value)}: expected {self.expected(checked)}")
        # -0.0 trains what 0.0 does, so it is written the same
        return checked + 0.0 if self.annotation is float else checked

    def _too_many(self, value: Any) -> bool:
        """Whether it exceeds what no count does; fields that say themselves how much is too much have their own."""
        if self.annotation is not int or not isinstance(value, int) or value <= MOST:
            return False
        return not any(isinstance(bound, annotated_types.Le) for bound in self.info.metadata)

    @cached_property
    def _adapter(self) -> pydantic.TypeAdapter[Any]:
        # A type known only at run time
        annotated = operator.getitem(cast(Any, typing.Annotated), (self.annotation, self.info))
        return pydantic.TypeAdapter(annotated, config=pydantic.ConfigDict(allow_inf_nan=False))

    def expected(self, value: Any) -> str:
        """What a message says was expected instead of a value: as `valid`, and what no count exceeds if this does."""
        number = whole_number(value) if isinstance(value, str) else value
        return f"{self.valid()}, and no more than {MOST:,}" if self._too_many(number) else self.valid()

    def valid(self) -> str:
        """The valid values in words: ``a number > 0``, ``one of fp32, bf16``, ``true or false``."""
        if self.annotation is bool:
            return "true or false"
        if known := self.options or self.names:
            return "one of " + ", ".join(shown(option) for option in known)
        kinds: dict[Any, str] = {int: "a whole number", float: "a number", str: "text"}
        signs = {annotated_types.Gt: ">", annotated_types.Ge: "≥", annotated_types.Lt: "<", annotated_types.Le: "≤"}
        limits = [
            f"{sign} {shown(getattr(bound, kind.__name__.lower()))}"
            for bound in self.info.metadata
            for kind, sign in signs.items()
            if isinstance(bound, kind)
        ]
        return " ".join([kinds.get(self.annotation, str(self.annotation)), " and ".join(limits)]).strip()


def specs_of(fields: type[Fields], group: str, prefix: str = "", when: Condition | None = None) -> list[FieldSpec]:
    """The fields of one class in order of declaration. prefix: of a variant's names. when: condition of the class."""
    specs = []
    for name, info in fields.model_fields.items():
        found = next((item for item in info.metadata if isinstance(item, _Declared)), None)
        if found is None:
            raise TypeError(f"{fields.__qualname__}.{name}: declare it as setting(default, help)")
        declared = found.now()
        own, *alternatives = (
            {prefix + other: allowed for other, allowed in condition.items()}
            for condition in (declared.when, *declared.any_of)
        )
        specs.append(FieldSpec(prefix + name, group, info, declared, {**(when or {}), **own}, tuple(alternatives)))
    return specs


def explain(error: pydantic.ValidationError, name: str = "") -> str:
    """One line for the first thing that pydantic found: the name, the value, the expectation."""
    first = error.errors(include_url=False)[0]
    where = ".".join([name] * bool(name) + [shown(part) for part in first["loc"]])
    if first["type"] == "extra_forbidden":
        return f"{where}: no such name here"
    if first["type"] == "missing":
        return f"{where}: missing"
    if first["type"] in ("value_error", "assertion_error"):
        about, text = "", str(first["ctx"]["error"])
    else:
        about, text = "expected ", expectation(first["type"], first.get("ctx", {}), first["msg"])
    given = "" if isinstance(first["input"], Mapping) else f" = {shown(first['input'])}"  # a whole group says nothing
    return f"{where}{given}: {about}{text}" if where else about + text


_BOUNDS = {
    "greater_than": "a number > {gt}",
    "greater_than_equal": "a number ≥ {ge}",
    "less_than": "a number < {lt}",
    "less_than_equal": "a number ≤ {le}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
}
_KINDS = {"int": "a whole number", "float": "a number", "finite": "a number", "bool": "true or false", "string": "text"}
_KINDS |= dict.fromkeys(("list", "tuple", "set", "iterable"), "a list")
_KINDS |= dict.fromkeys(("dict", "model", "mapping", "dataclass"), "keys with values")


def expectation(kind: str, context: Mapping[str, Any], message: str) -> str:
    """What pydantic expected, in the words of `FieldSpec.valid`. kind: of its error."""
    if kind in _BOUNDS:
        return _BOUNDS[kind].format_map({name: shown(bound) for name, bound in context.items()})
    if kind == "literal_error":
        return "one of " + str(context["expected"]).replace(" or ", ", ").replace("'", "")
    if known := _KINDS.get(kind.partition("_")[0]):
        return known
    text = message.removeprefix("Input ").removeprefix("should be ")
    return text[0].lower() + text[1:]


def shown_condition(name: str, allowed: Allowed) -> str:
    """``schedule = cosine or wsd``, ``strongermax.obo > 0``."""
    if isinstance(allowed, Above):
        return f"{name} > {shown(allowed.bound)}"
    return f"{name} = {' or '.join(map(shown, allowed))}"


def shown(value: Any) -> str:
    """A value as a user would type it: on one line, nothing unprintable, cut when long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        text = str(value) if value.bit_length() < 200 else hex(value)  # Python refuses to write out very long numbers
    else:
        text = repr(float(value)).removesuffix(".0") if isinstance(value, float) else str(value)
    if not text.isprintable():
        text = ascii(text)[1:-1]
    return text if len(text) <= 60 else text[:57] + "..."
