"""What a study file chooses by name, with options: a sampler or a pruner, one class each."""

from __future__ import annotations

from typing import Any, ClassVar, Self, cast

import pydantic
from pydantic.fields import FieldInfo

from tunemax.gpt.errors import did_you_mean

STORED = "stored"
"""The context in which pydantic reads a definition that comes from a storage, maybe of an older tunemax."""


class Named(pydantic.BaseModel):
    """A family (`Sampler`, `Pruner`), or one of its classes, which registers itself by being defined with a name.

    A family declares the options that every stored definition has, whichever class it names. A class says which of them
    it takes, and declares those that it has for itself. To read a family is to get an instance of the class that is
    named.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    family: ClassVar[type[Named]]
    registry: ClassVar[dict[str, type[Named]]]
    key: ClassVar[str]
    """The name of the class; of a family, what it is a family of."""
    takes: ClassVar[tuple[str, ...]]
    help: ClassVar[str]
    """What it does, in half a sentence."""

    name: str

    def __init_subclass__(cls, key: str = "", name: str = "", takes: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.key, cls.takes = name or key, takes
        if key:
            cls.family, cls.registry = cls, {}
        elif cls.registry.setdefault(name, cls) is not cls:
            raise TypeError(f"{cls.family.key} name {name!r} is taken by {cls.registry[name].__qualname__}")

    @classmethod
    def known(cls) -> dict[str, type[Self]]:
        """Every class of the family by its name, in order of registration."""
        return cast(dict[str, type[Self]], cls.registry)

    @classmethod
    def chosen(cls, given: Any) -> type[Self]:
        """The class that plain data names; if there is none of this name, the default one, which then refuses it."""
        default = str(cls.model_fields["name"].default)
        name = given.get("name") if isinstance(given, dict) else None
        return cls.known().get(name if isinstance(name, str) else default, cls.known()[default])

    @classmethod
    def fields(cls) -> dict[str, FieldInfo]:
        """Name and options that the family declares, and those that its classes have for themselves."""
        return {name: info for member in cls.registry.values() for name, info in member.model_fields.items()}

    @classmethod
    def options(cls) -> list[str]:
        """The options that the class has."""
        return [*cls.takes, *(name for name in cls.model_fields if name not in cls.family.model_fields)]

    @classmethod
    def refusal(cls, option: str) -> str:
        """What is said of an option that others have."""
        owners = [name for name, member in cls.registry.items() if option in member.options()]
        return f"{cls.key} has no {option}; it belongs to {' and '.join(owners)}"

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _read(
        cls, given: Any, handler: pydantic.ModelWrapValidatorHandler[Self], info: pydantic.ValidationInfo
    ) -> Self:
        if not isinstance(given, dict):
            return handler(given)
        if cls is cls.family:
            return cls.chosen(given).model_validate(given, context=info.context)
        for option in cls.fields():
            if option in given and option not in cls.model_fields:
                raise ValueError(cls.refusal(option))
        return handler({"name": cls.key, **given})

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if self.name != self.key:
            raise ValueError(f"{self.name}: no such {self.family.key}{did_you_mean(self.name, self.registry)}")
        for option, info in self.family.model_fields.items():
            if option not in ("name", *self.takes) and getattr(self, option) != info.default:
                raise ValueError(self.refusal(option))
        return self
