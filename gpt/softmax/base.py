"""The contract of a softmax variant, and the registry of all of them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from tunemax.gpt.errors import did_you_mean
from tunemax.gpt.fields import Condition, FieldSpec, Value, specs_of
from tunemax.gpt.lazy import F, torch
from tunemax.gpt.parts import Part

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Work:
    """What one weight takes at a variant's defaults, beside additions and products: a proxy of what hardware for it
    costs. What constants can be merged into is not counted."""

    exponentials: int = 0
    """Exponentials, logarithms and error functions."""
    divisions: int = 0
    """By what is not a constant; roots, too."""
    reductions: int = 0
    """Passes over the whole row before its first weight is known."""
    comparisons: int = 0
    """With constants or other weights, those of a row maximum left out."""


class Variant(Part, field="softmax_variant", noun="variant"):
    """One replacement of the attention softmax: its parameters are its fields, its formula is `weights`.

    In a config the fields hold plain numbers. To compute, a trainer binds them (`bind`) to tensors that broadcast
    against the logits of a lane, one value a member and, for a learnable, one a layer or a head. Every float field is
    such a number; every other field chooses a code path, which all members of a lane share. Half-precision logits are
    computed in fp32 (`numerics.wide`) and may be met by bound values in fp32.

    A subclass registers itself by being defined with a name; the contract tests then run over it. One that only holds
    what several variants have in common is defined with `family=True`.

    Some names mean the same in every variant: SGD moves a learnable field `x` where a boolean field `learn_x` is on,
    and holds one a head instead of one a layer where a field `sharing` is "head".
    """

    by_member = True
    source: ClassVar[str]
    """Where the formula comes from (paper and equation)."""
    formula: ClassVar[str] = ""
    """The weight of an allowed key with logit x: Σ over the allowed keys of its row, n of them, max the largest x."""
    work: ClassVar[Work | None] = None
    """None where nobody has said it."""
    positive: ClassVar[bool] = False
    """Whether every allowed weight is above 0, as long as it does not underflow."""
    straight_through: ClassVar[tuple[str, ...]] = ()
    """Of the logits (`logits`) and the learnables: those that are rounded, and whose gradient passes that by."""
    sizes: ClassVar[Mapping[str, int]] = {}
    """How many numbers SGD moves of a learnable, where it is not one; all start at the field's value. Bound, they are
    the last dimension."""
    baselines: ClassVar[tuple[Mapping[str, Value], ...]] = ({},)
    """Known settings that a study tries first, as changes to the defaults; `{}` is the defaults."""
    fused: ClassVar[bool] = False
    """Whether `attend` is faster than products with `weights` on a GPU."""
    as_output: ClassVar[tuple[str, ...] | None] = None
    """The fields that it has where it is the distribution of the next token; None if it cannot be: see `scores`."""

    def __init_subclass__(cls, name: str = "", family: bool = False, **kwargs: Any) -> None:
        if not (name or family):
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

    def scores(self, logits: Tensor) -> Tensor:
        """Of each token (..., V), such that e^score over their sum is its probability: what `weights` gives a row of
        logits (..., V) that may attend to all of itself. Only of variants with `as_output`, which are never above 0."""
        raise NotImplementedError

    def learned(self) -> dict[str, Form]:
        """The learnable fields that SGD moves with these parameters, and the form in which `theta` holds each."""
        return {}

    def canonical(self, config: Any) -> Mapping[str, Value]:
        return {"sharing": "layer"} if self.per_head and config.model.n_head == 1 else {}

    @property
    def per_head(self) -> bool:
        """Whether learnables are one a head, or one a layer."""
        return dict(self).get("sharing") == "head"

    @property
    def normalised(self) -> bool:
        """Whether the weights of every row that may attend to something add up to 1."""
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
    def why_not_output(cls) -> str:
        """Why it cannot be the distribution of the next token; empty if it can."""
        if cls.as_output is not None:
            return ""
        if not cls.divides_by_sum():
            return "it looks at one logit at a time, so that probabilities would not add up to 1"
        if not cls.positive:
            return "it gives zeros, and a token that had probability 0 is an infinite loss"
        return "its probabilities would not add up to 1"

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
        if cls.as_output is not None:
            if unknown := set(cls.as_output) - cls.model_fields.keys():
                raise TypeError(f"{cls.__qualname__}.as_output has {min(unknown)}, which is no field of it")
            if cls.scores is Variant.scores:
                raise TypeError(f"{cls.__qualname__} has as_output, but lacks scores")
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

    @classmethod
    @cache
    def output_specs(cls) -> tuple[FieldSpec, ...]:
        """The fields that it has as the output distribution, by their flat names. Stacked members compute it together,
        so only numbers may differ; nothing of it is learned."""
        prefix = output_prefix(cls.name)
        specs = specs_of(cls, "model", prefix=prefix, when={OUTPUT: (cls.name,)})
        own = (spec for spec in specs if spec.name.removeprefix(prefix) in (cls.as_output or ()))
        return tuple(replace(s, declared=replace(s.declared, shared=not s.is_scalar, learnable=False)) for s in own)


OUTPUT = "softmax_variant_output"
"""The field that names the distribution of the next token."""


def output_prefix(name: str) -> str:
    """What the flat names of a variant's fields begin with where it is the output distribution."""
    return f"output.{name}."


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


def outputs() -> dict[str, type[Variant]]:
    """Those that can be the distribution of the next token."""
    return {name: variant for name, variant in variants().items() if variant.as_output is not None}


def find_output(name: str) -> type[Variant]:
    """The variant of this name or alias, as the distribution of the next token. Raises ValueError for an unknown one,
    and for one that cannot be it."""
    if name not in Variant.registry:
        raise ValueError(f"no such variant{did_you_mean(name, outputs())}")
    variant = find_variant(name)
    if reason := variant.why_not_output():
        raise ValueError(f"{reason}; expected one of {', '.join(outputs())}")
    return variant


def find_variant(name: str) -> type[Variant]:
    """The variant of this name or alias. Raises TunemaxError for an unknown one."""
    return Variant.find(name)
