"""Activations as variants: a curve that networks use elsewhere, over a divisor, with no maximum and no row sum."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING

from tunemax.gpt.fields import Choices, Control, Range, setting
from tunemax.gpt.lazy import F, torch
from tunemax.gpt.softmax.base import Work
from tunemax.gpt.softmax.elementwise import Elementwise, divisor_field, length_field
from tunemax.gpt.softmax.numerics import allowed_keys, number

if TYPE_CHECKING:
    from torch import Tensor

NANOGPT = "ReaLLMASIC's nanoGPT, softmax_variations.py, class"
SQUAREPLUS = 4 * math.log(2.0) ** 2
"""b of squareplus, with which its value at 0 is that of softplus."""


class Activation(Elementwise, family=True):
    """f(x) over a divisor."""

    divisor: float = divisor_field(256.0)
    div_by_seq_len: bool = length_field()

    @abstractmethod
    def activation(self, x: Tensor, mask: Tensor) -> Tensor:
        """f(x)."""

    def curve(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.activation(x, mask) / number(self.divisor, x)


class Sigmoidmax(Activation, name="sigmoidmax"):
    """σ(x + bias − ln n) / divisor, σ(x) = 1/(1 + e^−x), for a row of n allowed keys (Ramapuram et al., arXiv
    2409.04431, eq. 3).

    With −ln n a row adds up to about 1 where logits are about 0. Without it, it is ReaLLMASIC's, whose divisor is 256.
    """

    source = "Ramapuram et al., Theory of sigmoid self-attention, arXiv 2409.04431, section 3"
    formula = "σ(x + bias − ln n) / divisor, σ(x) = 1/(1 + e^−x)"
    work = Work(exponentials=1, divisions=1)
    positive = True
    baselines = ({}, {"bias_by_seq_len": False, "divisor": 256.0})

    divisor: float = divisor_field(1.0)
    bias: float = setting(0.0, "added to every logit", search=Range(-5, 5), control=Control("additive", -100, 100))
    bias_by_seq_len: bool = setting(
        True,
        "subtract ln n from every logit, n being the number of keys that the row may attend to",
        search=Choices((True, False)),
    )

    def activation(self, x: Tensor, mask: Tensor) -> Tensor:
        bias = number(self.bias, x)
        if self.bias_by_seq_len:
            bias = bias - allowed_keys(mask, x).log()
        return F.logsigmoid(x + bias).exp()  # torch.sigmoid rounds by an element's place in memory


class Relumax(Activation, name="relumax"):
    """max(x, 0) / divisor (Wortsman et al., arXiv 2309.08586, eq. 2).

    There the divisor is the number of keys: `divisor` 1 with `div_by_seq_len`.
    """

    source = "Wortsman et al., Replacing softmax with ReLU in vision transformers, arXiv 2309.08586"
    formula = "max(x, 0) / divisor"
    work = Work(comparisons=1)
    baselines = ({}, {"divisor": 1.0, "div_by_seq_len": True})

    def activation(self, x: Tensor, mask: Tensor) -> Tensor:
        return x.relu()


class Relu2max(Activation, name="relu2max"):
    """max(x, 0)² / divisor (among the activations of Wortsman et al., arXiv 2309.08586).

    There the divisor is the number of keys: `divisor` 1 with `div_by_seq_len`.
    """

    source = "Wortsman et al., Replacing softmax with ReLU in vision transformers, arXiv 2309.08586"
    formula = "max(x, 0)² / divisor"
    work = Work(comparisons=1)
    baselines = ({}, {"divisor": 1.0, "div_by_seq_len": True})

    def activation(self, x: Tensor, mask: Tensor) -> Tensor:
        return x.relu().square()


class Softplus(Activation, name="softplus"):
    """ln(1 + e^x) / divisor (ReaLLMASIC's nanoGPT, softmax_variations.py, class Softplus)."""

    source = f"{NANOGPT} Softplus"
    formula = "ln(1 + e^x) / divisor"
    work = Work(exponentials=2)
    positive = True

    def activation(self, x: Tensor, mask: Tensor) -> Tensor:
        return _softplus(x)


class Softplus2max(Activation, name="softplus2max"):
    """ln(1 + e^x)² / divisor (klei22's nanoGPT, softmax_variations.py, class Softplus2Max)."""

    source = "klei22's nanoGPT, softmax_variations.py, class Softplus2Max"
    formula = "ln(1 + e^x)² / divisor"
    work = Work(exponentials=2)
    positive = True

    def activation(self, x: Tensor, mask: Tensor) -> Tensor:
        return _softplus(x).square()


class Squareplus(Activation, name="squareplus"):
    """½ (x + √(x² + b)) / divisor, b = 4 ln²2 (Barron, Squareplus, arXiv 2112.11687, eq. 1): softplus without an
    exponential, and equal to it at 0.

    For x < 0 computed as ½ b / (√(x² + b) − x), since a difference of two numbers that are about equal is nothing but
    rounding.
    """

    source = "Barron, Squareplus, arXiv 2112.11687, eq. 1"
    formula = "½ (x + √(x² + b)) / divisor, b = 4 ln²2"
    work = Work(divisions=1)
    positive = True

    def activation(self, x: Tensor, mask: Tensor) -> Tensor:
        size = x.abs()
        return x.relu() + 0.5 * SQUAREPLUS / (size + (x.square() + SQUAREPLUS).sqrt())


class Gelumax(Activation, name="gelumax"):
    """x·Φ(x) / divisor, Φ being the normal distribution function (klei22's nanoGPT, softmax_variations.py, class
    Gelumax). Below 0 weights are negative, but never below −0.17 / divisor.
    """

    source = "klei22's nanoGPT, softmax_variations.py, class Gelumax"
    formula = "x·Φ(x) / divisor, Φ the normal distribution function"
    work = Work(exponentials=1)

    divisor: float = divisor_field(64.0)

    def activation(self, x: Tensor, mask: Tensor) -> Tensor:
        return x * (0.5 * torch.erfc(x * -math.sqrt(0.5)))


class Softshrink(Activation, name="softshrink"):
    """x − λ above λ, x + λ below −λ, 0 between them, all over a divisor (klei22's nanoGPT, softmax_variations.py, class
    Softshrink). Weights may be negative.
    """

    source = "klei22's nanoGPT, softmax_variations.py, class Softshrink"
    formula = "x − λ for x > λ, x + λ for x < −λ, else 0; all divided by the divisor"
    work = Work(comparisons=2)

    divisor: float = divisor_field(64.0)
    threshold: float = setting(
        0.5,
        "λ, the size up to which a logit weighs nothing",
        ge=0,
        le=1e4,
        search=Range(0, 2),
        control=Control("additive", 0, 100),
    )

    def activation(self, x: Tensor, mask: Tensor) -> Tensor:
        threshold = number(self.threshold, x)
        return (x - threshold).relu() - (-x - threshold).relu()


def _softplus(x: Tensor) -> Tensor:
    """ln(1 + e^x). On a CPU torch's softplus rounds by an element's place in memory."""
    return -F.logsigmoid(-x)
