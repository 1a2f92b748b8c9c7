"""Strongermax: a softmax of any strength, each of its parts open to change."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

import pydantic

from tunemax.gpt.fields import Above, Choices, Condition, Control, Range, setting
from tunemax.gpt.lazy import F, torch
from tunemax.gpt.softmax.base import Form, Variant, Work
from tunemax.gpt.softmax.numerics import (
    allowed_keys,
    capped_exp,
    guard,
    lowered,
    number,
    row_maximum,
    scaled_softmax,
    wide,
)

if TYPE_CHECKING:
    from torch import Tensor


M_MATTERS: tuple[Condition, ...] = ({"divide_by_sum": (False,)}, {"obo": Above(0)})
"""A plain softmax does not change when something is subtracted from a whole row."""


class Strongermax(Variant, name="strongermax"):
    """s^((x − m)/τ) / (obo + Σ s^((x − m)/τ)) / divisor (ReaLLMASIC's nanoGPT, softmax_variations.py, class
    Strongermax).

    m is the maximum of the row or a guess at it. obo ("off by one") is added to the sum as it stands after the
    subtraction of m, so with a row maximum it is a share of the largest weight. That is not softmax1 (Miller, Attention
    is off by one, 2023), e^x / (1 + Σ e^x), whose 1 would be e^−m here; a guess of 0 is softmax1 at obo 1.

    Divided by the sum, it is a softmax times the share that obo leaves: nothing can overflow. Not divided, the exponent
    (x − m)·ln s/τ − ln divisor is clamped at GUARD, above which a weight is constant and has no gradient (a row maximum
    keeps it below unless the divisor is tiny). `clamp` cuts logits off before all this.
    """

    source = "ReaLLMASIC's nanoGPT, softmax_variations.py, class Strongermax"
    formula = "s^((x − m)/τ) / (obo + Σ s^((x − m)/τ)) / divisor"
    work = Work(exponentials=1, divisions=1, reductions=2)
    positive = True
    as_output = ("strength", "temperature", "clamp", "clamp_value")
    baselines = ({}, {"strength": 2.0}, {"obo": 1.0})

    strength: float = setting(
        2.718281828459045,
        "s, the base of the power",
        gt=1,
        le=16,
        search=Range(2, 4.5),
        control=Control("additive", 1.05, 16),
    )
    temperature: float = setting(
        1.0,
        "τ, divides the logits",
        ge=1e-3,
        le=1e3,
        search=Range(0.5, 2, log=True),
        control=Control("multiplicative", 1e-2, 1e2),
        learnable=True,
    )
    learn_temperature: bool = setting(False, "SGD moves τ from its start, in log form", search=Choices((False, True)))
    maximum: Literal["row", "guess"] = setting(
        "row",
        "m, subtracted from the logits: the maximum of the row, or a guess at it",
        any_of=M_MATTERS,
        inert_as="row",
        search=Choices(("row", "guess")),
    )
    guess: float = setting(
        1.0,
        "the guess at the maximum",
        when={"maximum": ("guess",)},
        any_of=M_MATTERS,
        search=Range(0, 10),
        control=Control("additive", -100, 100),
    )
    divide_by_sum: bool = setting(True, "divide by obo plus the sum of the row", search=Choices((True, False)))
    obo: float = setting(
        0.0,
        "added to the sum of the row",
        when={"divide_by_sum": (True,)},
        ge=0,
        le=1e6,
        search=Range(0, 2),
        control=Control("additive", 0, 100),
        learnable=True,
    )
    learn_obo: bool = setting(
        False,
        "SGD moves obo from its start, which must be above 0, in softplus form",
        when={"divide_by_sum": (True,)},
        search=Choices((False, True)),
    )
    sharing: Literal["layer", "head"] = setting(
        "layer",
        "one learned τ and obo a layer, or one a head",
        any_of=({"learn_temperature": (True,)}, {"learn_obo": (True,), "divide_by_sum": (True,)}),
        search=Choices(("layer", "head")),
    )
    divisor: float = setting(
        1.0,
        "divides every weight",
        ge=1e-3,
        le=1e9,
        search=Range(1, 1000, log=True),
        control=Control("multiplicative", 1e-3, 1e6),
    )
    div_by_seq_len: bool = setting(
        False, "divide also by the number of keys that the row may attend to", search=Choices((False, True))
    )
    clamp: bool = setting(
        False, "cut logits off at clamp_value, before anything is subtracted", search=Choices((False, True))
    )
    clamp_value: float = setting(
        88.0,
        "the largest logit when clamp is on",
        when={"clamp": (True,)},
        search=Range(25, 88),
        control=Control("additive", -100, 1000),
    )

    @pydantic.model_validator(mode="after")
    def _softplus_has_no_zero(self) -> Self:
        if "obo" in self.learned() and self.obo <= 0:
            raise ValueError(
                f"obo = {self.obo:g} cannot start SGD with learn_obo: softplus form needs a start > 0, such as obo = 1"
            )
        return self

    @classmethod
    def divides_by_sum(cls) -> list[Condition]:
        return [{**condition, "strongermax.divide_by_sum": (True,)} for condition in super().divides_by_sum()]

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        return self._weights(self._constants(logits), logits, mask)

    def merged(self, like: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        return partial(self._weights, self._constants(like))

    def _constants(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """ln s/τ, and the divisor, or its logarithm where that is part of an exponent."""
        x = wide(like)
        divisor = number(self.divisor, x)
        rate = number(self.strength, x).log() / number(self.temperature, x)
        return rate, divisor if self.divide_by_sum else divisor.log()

    def _weights(self, constants: tuple[Tensor, Tensor], logits: Tensor, mask: Tensor) -> Tensor:
        x = self._clamped(wide(logits))
        if self.divide_by_sum:
            rate, divisor = constants
            weights = scaled_softmax(x, rate, mask)
            weights = weights * (self._share(weights, x, mask, rate) / divisor)
        else:
            weights = capped_exp(self._exponent(constants, x, mask), mask, logits.dtype)
        if self.div_by_seq_len:
            weights = weights / allowed_keys(mask, x)
        return weights.to(logits.dtype)

    def scores(self, logits: Tensor) -> Tensor:
        return self._clamped(logits) * self._constants(logits)[0]

    def guarded(self, logits: Tensor, mask: Tensor) -> Tensor:
        x = wide(logits)
        acts = torch.zeros_like(x, dtype=torch.bool)
        if self.clamp:
            acts = acts | (x > number(self.clamp_value, x))
        if not self.divide_by_sum:
            acts = acts | (self._exponent(self._constants(x), self._clamped(x), mask) > guard(logits.dtype))
        return acts & mask

    def _clamped(self, x: Tensor) -> Tensor:
        return torch.minimum(x, number(self.clamp_value, x)) if self.clamp else x

    def _exponent(self, constants: tuple[Tensor, Tensor], x: Tensor, mask: Tensor) -> Tensor:
        """(x − m)·ln s/τ − ln divisor."""
        rate, log_divisor = constants
        maximum = number(self.guess, x)
        if self.maximum == "row":
            x = lowered(x, mask)
            maximum = row_maximum(x)
        return (x - maximum) * rate - log_divisor

    def _share(self, weights: Tensor, x: Tensor, mask: Tensor, rate: Tensor) -> Tensor:
        """Σ / (obo + Σ) of each row, (..., Tq, 1), from its softmax weights.

        The largest weight of a softmax is 1/Σ for the Σ with the row maximum subtracted. In log form, since with a
        guess far from the maximum Σ itself has no bounds.
        """
        obo = number(self.obo, x)
        absent = torch.finfo(x.dtype).min / 2  # a logarithm of 0 that can be added to
        log_obo = torch.where(obo > 0, torch.where(obo > 0, obo, 1.0).log(), absent)
        log_sum = -weights.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny).log()
        if self.maximum == "guess":
            over = row_maximum(lowered(x, mask)) - number(self.guess, x)
            log_sum = log_sum + over * rate
        return F.logsigmoid(log_sum - log_obo).exp()  # torch.sigmoid rounds by an element's place in memory

    def learned(self) -> dict[str, Form]:
        forms: dict[str, Form] = {}
        if self.learn_temperature:
            forms["temperature"] = "log"
        if self.learn_obo and self.divide_by_sum:
            forms["obo"] = "softplus"
        return forms

    @property
    def normalised(self) -> bool:
        return self.divide_by_sum and self.divisor == 1 and self.obo == 0 and not self.div_by_seq_len
