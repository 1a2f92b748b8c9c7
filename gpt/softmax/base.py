"""The contract of a softmax variant, and the registry of all of them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from tunemax.gpt.fields import Condition, FieldSpec, Value, specs_of
from tunemax.gpt.lazy import F, torch
from tunemax.gpt.parts import Part

if TYPE_CHECKING:
    from torch import Tensor


class Variant(Part, field="softmax_variant", noun="variant"):
    """One replacement of the attention softmax: its parameters are its fields, its formula is `weights`.

    In a config the fields hold plain numbers. To compute, a trainer binds them (`bind`) to tensors that broadcast
    against the logits of a lane, one value a member and, for a learnable, one a layer or a head. Every float field is
    such a number; every other field chooses a code path, which all members of a lane share. Half-precision logits are
    computed in fp32 (`numerics.wide`) and may be met by bound values in fp32.

    A subclass registers itself by being defined with a name; the contract tests then run over it.
    """

    by_member = True
    source: ClassVar[str]
    """Where the formula comes from (paper and equation)."""
    baselines: ClassVar[tuple[Mapping[str, Value], ...]] = ({},)
    """Known settings that a study tries first, as changes to the defaults; `{}` is the defaults."""
    fused: ClassVar[bool] = False
    """Whether `attend` is faster than products with `weights` on a GPU."""

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        if not name:
            raise TypeError(f"{cls.__qualname__} has no name: give it one, class {cls.__qualname__}(Variant, name=…)")
        super().__init_subclass__(name=name, **kwargs)

    @abstractmethod
    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Attention weights of the allowed keys.

        logits: (..., Tq, Tk), already divided by the square root of the head's width. mask: boolean, broadcastable to
        logits, True where a query may attend. Returns weights of the same shape and dtype, exactly 0 where the mask is
        False and for a row that may attend to nothing. They do not depend on how far the tensor is padded. They and
        their gradients are finite for all logits up to 1e4 in size: where a formula would overflow, it has a guard.
        """

    def guarded(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Boolean, as logits: the allowed entries at which a guard or clamp acts, so that the logit has no effect."""
        return torch.zeros_like(logits, dtype=torch.bool)

    def merged(self, like: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """`weights` for where numbers stay as they are, as when a text is written: what follows from them alone is
        computed once. like: logits of the kind that will come. Worth its lines where a formula has constants."""
        return self.weights

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Causal attention output (..., T, D) from queries, keys and values (..., T, D). Equals `weights` times v."""
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
        return self.weights(q @ k.mT * q.shape[-1] ** -0.5, mask) @ v

    def learned(self) -> dict[str, Form]:
        """The learnable fields that SGD moves with these parameters, and the form in which `theta` holds each."""
        return {}

    @property
    def per_head(self) -> bool:
        """Whether learnables are one a head, or one a layer."""
        return False

    def bind(self, values: Mapping[str, Tensor]) -> Self:
        """This variant with tensors in place of some of its numbers."""
        return cast(Self, self.model_construct(**{**dict(self), **values}))

    @property
    def code_path(self) -> tuple[Value, ...]:
        """What members must share to stand in one lane: the variant, and its choices that can mean something."""
        values = dict(self)
        return (self.name, *(values[s.name] for s in _choices(type(self)) if s.can_be_active(values)))

    @classmethod
    def divides_by_sum(cls) -> list[Condition]:
        """The conditions under which the weights of a row depend on each other: one key more takes from all others."""
        return [{cls.field: (cls.name,)}]

    @classmethod
    def learns(cls) -> list[Condition]:
        """The conditions under which SGD moves a field of this variant: a learnable `x` is switched on by `learn_x`."""
        specs = {spec.name: spec for spec in cls.specs()}
        learnable = [spec.name.rpartition(".")[2] for spec in specs.values() if spec.declared.learnable]
        missing = [name for name in learnable if f"{cls.name}.learn_{name}" not in specs]
        if missing:
            raise TypeError(
                f"{cls.__qualname__}.{missing[0]} is learnable: declare a boolean field learn_{missing[0]} that "
                "switches it on"
            )
        switches = [specs[f"{cls.name}.learn_{name}"] for name in learnable]
        return [{**switch.when, switch.name: (True,)} for switch in switches]

    @classmethod
    def check_declared(cls) -> None:
        super().check_declared()
        if not isinstance(getattr(cls, "source", None), str):
            raise TypeError(f"{cls.__qualname__} lacks source: where its formula comes from, as text")
        cls.specs()
        cls.learns()
        for baseline in cls.baselines:
            unknown = baseline.keys() - cls.model_fields.keys()
            if unknown:
                raise TypeError(f"{cls.__qualname__}.baselines has {min(unknown)}, which is no field of it")
            learned = cls(**baseline).learned().keys() - cls.model_fields.keys()
            if learned:
                raise TypeError(f"{cls.__qualname__}.learned has {min(learned)}, which is no field of it")

    @classmethod
    @cache
    def specs(cls) -> tuple[FieldSpec, ...]:
        """Its fields by their flat names; asked for at every step of a training."""
        return tuple(specs_of(cls, "model", prefix=f"{cls.name}.", when={cls.field: (cls.name,)}))


@cache
def _choices(variant: type[Variant]) -> tuple[FieldSpec, ...]:
    """A variant's fields that choose a code path, by their own names."""
    return tuple(spec for spec in specs_of(variant, "model") if not spec.is_scalar)


Form = Literal["raw", "log", "softplus"]
"""How `theta` holds a learnable: itself (leaving its domain is an event), its logarithm, or the inverse of softplus."""


def to_column(value: float, form: Form) -> float:
    """The number in `theta` that stands for a learnable's value."""
    if form == "log":
        return math.log(value)
    return value + math.log(-math.expm1(-value)) if form == "softplus" else value


def from_column(column: Tensor, form: Form) -> Tensor:
    """The value of a learnable, from its columns in `theta`."""
    if form == "log":
        return column.exp()
    # softplus(c) = −ln σ(−c). On a CPU torch's softplus rounds by an element's place in memory, that is, by the number
    # of members.
    return -F.logsigmoid(-column) if form == "softplus" else column


def variants() -> dict[str, type[Variant]]:
    """Every registered variant by its name, in order of registration (aliases left out)."""
    return Variant.kinds()


def find_variant(name: str) -> type[Variant]:
    """The variant of this name or alias. Raises TunemaxError for an unknown one."""
    return Variant.find(name)
