"""Constantmax, no maximum and no row sum but two learnable constants instead, quantised, and with an end."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from tunemax.gpt.fields import Choices, Condition, Control, Range, setting
from tunemax.gpt.lazy import torch
from tunemax.gpt.softmax.base import Form, Variant, Work
from tunemax.gpt.softmax.elementwise import length_field
from tunemax.gpt.softmax.numerics import allowed_keys, capped_exp, guard, number, wide

if TYPE_CHECKING:
    from torch import Tensor


class Constantmax(Variant, name="constantmax", aliases=("consmax",)):
    """b^(x − β) / γ, elementwise (Liu et al., ConSmax, arXiv 2402.10930, eq. 2).

    Two learned constants stand in for what softmax computes from each row: β for the maximum, γ for the sum.
    TensorBoard shows both beside the true ones. With base e only g = −β − ln γ matters to the function; β and γ differ
    in how gradients move them, so where they start does matter.

    Computed as exp((x − β)·ln b − ln γ), the exponent clamped at GUARD: above it the weight is constant and has no
    gradient.
    """

    source = "Liu et al., ConSmax, arXiv 2402.10930, eq. 2"
    formula = "b^(x − β) / γ"
    work = Work(exponentials=1)
    positive = True
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
        """β and γ."""
        return number(self.beta, like), number(self.gamma, like)

    def _folded(self, like: Tensor) -> tuple[Tensor, ...]:
        """All that the exponent needs of them: ln b, and what is subtracted."""
        x = wide(like)
        rate, (beta, gamma) = number(self.base, x).log(), self._constants(x)
        return rate, beta * rate + gamma.log()

    def _exponent(self, folded: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        rate, subtracted = folded
        return wide(logits) * rate - subtracted

    @classmethod
    def divides_by_sum(cls) -> list[Condition]:
        return []

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        return self._weights(self._folded(logits), logits, mask)

    def merged(self, like: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        return partial(self._weights, self._folded(like))

    def _weights(self, folded: tuple[Tensor, ...], logits: Tensor, mask: Tensor) -> Tensor:
        return capped_exp(self._exponent(folded, logits), mask, logits.dtype)

    def guarded(self, logits: Tensor, mask: Tensor) -> Tensor:
        return (self._exponent(self._folded(logits), logits) > guard(logits.dtype)) & mask

    def learned(self) -> dict[str, Form]:
        forms: dict[str, Form] = {}
        if self.learn_beta:
            forms["beta"] = "raw"
        if self.learn_gamma:
            forms["gamma"] = self.gamma_form
        return forms


class ConstantmaxQuan(Constantmax, name="constantmax_quan", aliases=("consmax_quan",)):
    """Constantmax with β rounded to 1/100 and γ to 1/10, at least one step (ReaLLMASIC's nanoGPT,
    softmax_variations.py, class ConSmaxQuan). Gradients are those at the rounded values, and pass the rounding by.
    """

    source = "ReaLLMASIC's nanoGPT, softmax_variations.py, class ConSmaxQuan"
    formula = "b^(x − β) / γ, β rounded to 1/100, γ to 1/10"
    straight_through = ("beta", "gamma")

    def _constants(self, like: Tensor) -> tuple[Tensor, Tensor]:
        beta, gamma = super()._constants(like)
        return _rounded(beta, 100, -math.inf), _rounded(gamma, 10, 0.1)


class SaturatingConstantmax(Constantmax, name="saturating_constantmax", aliases=("saturatingconsmax",)):
    """b^(min(x − β, saturation)) / γ: constantmax that goes on flat (ReaLLMASIC's nanoGPT, softmax_variations.py, class
    SaturatingConSmax, whose value falls there to saturation + β).
    """

    source = "ReaLLMASIC's nanoGPT, softmax_variations.py, class SaturatingConSmax"
    formula = "b^(min(x − β, saturation)) / γ"
    work = Work(exponentials=1, comparisons=1)

    saturation: float = setting(
        11.0,
        "x − β from which on a weight stays as it is",
        ge=-50,
        le=1e4,
        search=Range(1, 15),
        control=Control("additive", -50, 100),
    )
    div_by_seq_len: bool = length_field()

    def _weights(self, folded: tuple[Tensor, ...], logits: Tensor, mask: Tensor) -> Tensor:
        weights = super()._weights(folded, logits, mask)
        if self.div_by_seq_len:
            weights = weights / allowed_keys(mask, weights)
        return weights

    def guarded(self, logits: Tensor, mask: Tensor) -> Tensor:
        beyond = wide(logits) - self._constants(wide(logits))[0] > number(self.saturation, wide(logits))
        return super().guarded(logits, mask) | (beyond & mask)

    def _folded(self, like: Tensor) -> tuple[Tensor, ...]:
        x = wide(like)
        beta, gamma = self._constants(x)
        return number(self.base, x).log(), beta, number(self.saturation, x), gamma.log()

    def _exponent(self, folded: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        rate, beta, saturation, log_gamma = folded
        return torch.minimum(wide(logits) - beta, saturation) * rate - log_gamma


def _rounded(x: Tensor, steps: int, least: float) -> Tensor:
    """x to the nearest of so many steps in 1, at least this; its gradient is 1."""
    with torch.no_grad():
        rounded = ((x * steps).round() / steps).clamp(min=least)
    return x + (rounded - x).detach()
