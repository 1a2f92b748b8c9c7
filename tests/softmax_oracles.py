"""The formula of every softmax variant once more: for the allowed keys of one row, in plain Python.

Each takes a variant, whose fields are plain numbers, and the logits of a row; it gives the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Row = list[float]


def ratio(numerators: Row) -> Row:
    return [numerator / math.fsum(numerators) for numerator in numerators]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def constantmax(p: Any, row: Row) -> Row:
    return [p.base ** (x - p.beta) / p.gamma for x in row]


def constantmax_quan(p: Any, row: Row) -> Row:
    return [p.base ** (x - round(p.beta * 100) / 100) / (round(p.gamma * 10) / 10) for x in row]


def saturating_constantmax(p: Any, row: Row) -> Row:
    powers = [p.base ** (x - p.beta) if x - p.beta < p.saturation else p.base**p.saturation for x in row]
    return [power / p.gamma for power in powers]


def polymax(p: Any, row: Row) -> Row:
    def value(x: float) -> float:
        if x < p.x0:
            return 0.0
        return float(p.y0 * (x - p.x0) / (0 - p.x0) if x <= 0 else x**p.power + p.y0)

    return [value(x) / p.divisor for x in row]


def vpolymax(p: Any, row: Row) -> Row:
    def value(x: float) -> float:
        if x < p.x0:
            return 0.0
        slope = (p.y0 - 0) / (p.x0 - 0)
        return float(slope * x + p.y0 if x <= 0 else x**p.power + p.y0)

    return [value(x) / p.divisor for x in row]


def exppolymax(p: Any, row: Row) -> Row:
    shift = (math.log(p.base) / p.power) ** (1 / (p.power - 1))
    values = [p.base**x if x < 0 else (x + shift) ** p.power + 1 - shift**p.power for x in row]
    return [value / p.divisor for value in values]


def strongermax(p: Any, row: Row) -> Row:
    row = [min(x, p.clamp_value) for x in row] if p.clamp else row
    m = max(row) if p.maximum == "row" else p.guess
    powers = [p.strength ** ((x - m) / p.temperature) for x in row]
    total = p.obo + sum(powers) if p.divide_by_sum else 1.0
    return [power / total / p.divisor for power in powers]


def sigmoidmax(p: Any, row: Row) -> Row:
    bias = p.bias - (math.log(len(row)) if p.bias_by_seq_len else 0)
    return [sigmoid(x + bias) / p.divisor for x in row]


def softshrink(p: Any, row: Row) -> Row:
    def value(x: float) -> float:
        return float(x - p.threshold if x > p.threshold else x + p.threshold if x < -p.threshold else 0)

    return [value(x) / p.divisor for x in row]


def squareplus(p: Any, row: Row) -> Row:
    b = 4 * math.log(2) ** 2
    # for x < 0 with numerator and denominator times √(x² + b) − x, since the difference is nothing but rounding
    halves = [x + math.sqrt(x * x + b) if x > 0 else b / (math.sqrt(x * x + b) - x) for x in row]
    return [half / 2 / p.divisor for half in halves]


def softpick(p: Any, row: Row) -> Row:
    scale = math.exp(-max(0.0, *row))
    total = sum(abs(math.expm1(x)) for x in row)
    return [max(math.expm1(x), 0) / (total + 1e-6 / scale) for x in row]


def pfla_softmax(p: Any, row: Row) -> Row:
    start = {
        "exp": math.exp,
        "softplus": softplus,
        "gelu": lambda x: max(x * math.erfc(-x / math.sqrt(2)) / 2, 0) + 1e-6 * math.exp(x),
    }[p.start]
    knots = [-10 + 20 * place / 29 for place in range(30)]
    heights = [p.height * start(knot) for knot in knots]

    def value(x: float) -> float:
        if not -10 < x < 10:
            return heights[0 if x < 0 else -1]
        left = max(place for place in range(29) if knots[place] <= x)
        share = (x - knots[left]) / (knots[left + 1] - knots[left])
        return heights[left] * (1 - share) + heights[left + 1] * share

    values = [value(x) for x in row]
    return ratio(values) if p.divide_by_sum else values


def projection(scores: Row, power: int) -> Row:
    """max(z − τ, 0)^p with the τ that makes them add up to 1, found by bisection."""
    low, high = max(scores) - 1, max(scores)
    for _ in range(200):
        middle = (low + high) / 2
        over = math.fsum(max(score - middle, 0) ** power for score in scores) > 1
        low, high = (middle, high) if over else (low, middle)
    return [max(score - low, 0) ** power for score in scores]


ORACLES: Mapping[str, Callable[[Any, Row], Row]] = {
    "softmax": lambda p, row: ratio([math.exp(x) for x in row]),
    "softermax": lambda p, row: ratio([2**x for x in row]),
    "sigsoftmax": lambda p, row: ratio([math.exp(x) * sigmoid(x) for x in row]),
    "sigsoftmax_base2": lambda p, row: ratio([p.base**x / (1 + p.base**-x) for x in row]),
    "ssmax": lambda p, row: ratio([len(row) ** (p.strength * x) for x in row]),
    "softmax1": lambda p, row: [math.exp(x) / (p.obo + sum(map(math.exp, row))) for x in row],
    "constantmax": constantmax,
    "constantmax_quan": constantmax_quan,
    "saturating_constantmax": saturating_constantmax,
    "polymax": polymax,
    "vpolymax": vpolymax,
    "exppolymax": exppolymax,
    "strongermax": strongermax,
    "sigmoidmax": sigmoidmax,
    "relumax": lambda p, row: [max(x, 0) / p.divisor for x in row],
    "relu2max": lambda p, row: [max(x, 0) ** 2 / p.divisor for x in row],
    "softplus": lambda p, row: [softplus(x) / p.divisor for x in row],
    "softplus2max": lambda p, row: [softplus(x) ** 2 / p.divisor for x in row],
    "squareplus": squareplus,
    "gelumax": lambda p, row: [x * math.erfc(-x / math.sqrt(2)) / 2 / p.divisor for x in row],
    "softshrink": softshrink,
    "pfla_softmax": pfla_softmax,
    "sparsemax": lambda p, row: projection(row, 1),
    "entmax15": lambda p, row: projection([x / 2 for x in row], 2),
    "softpick": softpick,
    "ste_argmax": lambda p, row: [float(place == row.index(max(row))) for place in range(len(row))],
}


def expected(variant: Any, row: Row) -> Row:
    """Weights by the oracle of a variant; `div_by_seq_len` means the same in all of them."""
    share = len(row) if getattr(variant, "div_by_seq_len", False) else 1
    return [weight / share for weight in ORACLES[variant.name](variant, row)]
