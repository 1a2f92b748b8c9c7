"""What can be replaced in a training: parts, a class each, registered by being defined with a name."""

from __future__ import annotations

from abc import ABC
from dataclasses import replace
from typing import Any, ClassVar, Self, cast

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import Condition, Fields, FieldSpec, specs_of
from tunemax.gpt.modules import broken, place_of


class Part(Fields, ABC):
    """One kind of a part. In a config its settings are its fields.

    A family (attention, norm, …) is a class with `field`, the setting whose value names a kind; a kind is a subclass of
    it with a name of its own, and is registered by being defined. What several kinds have in common they inherit.
    """

    field: ClassVar[str]
    noun: ClassVar[str]
    """What a kind of this family is called in messages."""
    group: ClassVar[str] = "model"
    """Where its fields are listed."""
    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    by_member: ClassVar[bool] = False
    """Whether members of a stack may have different values of its fields; else each field is declared as shared."""
    registry: ClassVar[dict[str, type[Part]]]
    """Of its family: every kind by its name and its aliases."""
    generation: ClassVar[int] = 0
    """Of all families: how often a kind has come or gone. What was made of all of them holds until it is another."""
    reserved: ClassVar[frozenset[str]] = frozenset()
    """Fields that every training has, whatever its parts."""

    def __init_subclass__(
        cls, name: str = "", aliases: tuple[str, ...] = (), field: str = "", noun: str = "", **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if field:
            cls.field, cls.noun, cls.registry = field, noun, {}
        if name:
            cls.name, cls.aliases = name, aliases
            Part.generation += 1
            for key in (name, *aliases):
                if (other := cls.registry.setdefault(key, cls)) is not cls:
                    raise TypeError(f"{cls.noun} name {key!r} is taken by {other.__qualname__} in {other.__module__}")

    @classmethod
    def withdraw(cls) -> None:
        """Take this kind out of the registry of its family."""
        Part.generation += 1
        for key in [key for key, kind in cls.registry.items() if kind is cls]:
            del cls.registry[key]

    @classmethod
    def check_declared(cls) -> None:
        """Raise an error, whichever it is, if no member could have this kind."""
        if missing := sorted(cls.__abstractmethods__):
            raise TypeError(f"{cls.__qualname__} lacks {', '.join(missing)}")
        for spec in [] if cls.by_member else specs_of(cls, cls.group):
            if not spec.declared.shared:
                reason = f"members of a stack have one {cls.noun} for all"
                raise TypeError(f"{cls.__qualname__}.{spec.name}: declare it with shared=True, since {reason}")

    @classmethod
    def kinds(cls) -> dict[str, type[Self]]:
        """Every kind of this family by its name, in order of registration (aliases left out)."""
        return {name: cast(type[Self], kind) for name, kind in cls.registry.items() if name == kind.name}

    @classmethod
    def find(cls, name: str) -> type[Self]:
        """The kind of this name or alias. Raises TunemaxError for an unknown one."""
        if name not in cls.registry:
            raise TunemaxError(f"{cls.field} = {name}: no such {cls.noun}{did_you_mean(name, cls.registry)}")
        return cast(type[Self], cls.registry[name])


def check_kinds(family: type[Part]) -> None:
    """Raise TunemaxError, with file and line, for a kind that does not keep the contract as far as its declaration
    goes."""
    for kind in family.kinds().values():
        try:
            kind.check_declared()
        except Exception as error:
            raise broken(place_of(kind), error) from error


def specs_of_kinds(family: type[Part]) -> list[FieldSpec]:
    """The fields of a family's kinds. One that only some of them have means something only with these."""
    having: dict[str, list[type[Part]]] = {}
    for kind in family.kinds().values():
        for name in kind.model_fields:
            having.setdefault(name, []).append(kind)
    specs: dict[str, FieldSpec] = {}
    for kind in family.kinds().values():
        for spec in specs_of(kind, family.group):
            owners = having[spec.name]
            everywhere = len(owners) == len(family.kinds())
            when: Condition = {} if everywhere else {family.field: tuple(owner.name for owner in owners)}
            specs.setdefault(spec.name, replace(spec, when={**when, **spec.when}))
    return list(specs.values())
