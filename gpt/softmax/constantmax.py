"""Constantmax: no maximum and no row sum, two learnable constants instead."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from tunemax.gpt.fields import Choices, Condition, Control, Range, setting
from tunemax.gpt.softmax.base import Form, Variant
from tunemax.gpt.softmax.numerics import capped_exp, guard, number, wide

if TYPE_CHECKING:
    from torch import Tensor


class Constantmax(Variant, name="constantmax", aliases=("consmax",)):
    """b^(x − β) / γ, elementwise (Liu et al., ConSmax, arXiv 2402.10930, eq. 2).

    Computed as exp((x − β)·ln b − ln γ), the exponent clamped at GUARD: above it the weight is constant and has no
    gradient. With base e only g = −β − ln γ matters to the function; β and γ differ in how gradients move them.
    """

    source = "Liu et al., ConSmax, arXiv 2402.10930, eq. 2"
    baselines = ({}, {"beta": 1.0, "gamma": 125.0})

    beta: float = setting(
        2.5,
        "β, subtracted from every logit",
        ge=-1e4,
        le=1e4,
        search=Range(0.5, 10),
        control=Control("additive", -10, 20),
        learnable=True,
    )
    gamma: float = setting(
        100.0,
        "γ, divides every weight",
        ge=1e-6,
        le=1e9,
        search=Range(1, 1000, log=True),
        control=Control("multiplicative", 1e-3, 1e6),
        learnable=True,
    )
    base: float = setting(
        2.718281828459045,
        "b, the base of the power",
        gt=1,
        le=16,
        search=Range(1.5, 5),
        control=Control("additive", 1.05, 16),
    )
    learn_beta: bool = setting(True, "SGD moves β from its start", search=Choices((True, False)))
    learn_gamma: bool = setting(True, "SGD moves γ from its start", search=Choices((True, False)))
    gamma_form: Literal["log", "raw"] = setting(
        "log",
        "how SGD holds γ: its logarithm, or itself (then Adam at 1e-3 hardly moves a γ of 100)",
        when={"learn_gamma": (True,)},
        search=Choices(("log", "raw")),
    )
    sharing: Literal["layer", "head"] = setting(
        "layer",
        "one learned β and γ a layer, or one a head",
        any_of=({"learn_beta": (True,)}, {"learn_gamma": (True,)}),
        search=Choices(("layer", "head")),
    )

    def _constants(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """ln b, and all that is subtracted then."""
        x = wide(like)
        rate = number(self.base, x).log()
        return rate, number(self.beta, x) * rate + number(self.gamma, x).log()

    @classmethod
    def divides_by_sum(cls) -> list[Condition]:
        return []

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        return _weights(self._constants(logits), logits, mask)

    def merged(self, like: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        return partial(_weights, self._constants(like))

    def guarded(self, logits: Tensor, mask: Tensor) -> Tensor:
        return (_exponent(self._constants(logits), logits) > guard(logits.dtype)) & mask

    def learned(self) -> dict[str, Form]:
        forms: dict[str, Form] = {}
        if self.learn_beta:
            forms["beta"] = "raw"
        if self.learn_gamma:
            forms["gamma"] = self.gamma_form
        return forms

    @property
    def per_head(self) -> bool:
        return self.sharing == "head"


def _exponent(constants: tuple[Tensor, Tensor], logits: Tensor) -> Tensor:
    rate, subtracted = constants
    return wide(logits) * rate - subtracted


def _weights(constants: tuple[Tensor, Tensor], logits: Tensor, mask: Tensor) -> Tensor:
    return capped_exp(_exponent(constants, logits), mask, logits.dtype)
