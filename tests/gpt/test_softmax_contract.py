"""The contract of a softmax variant, over every registered one and a spread of its settings: see variant_settings."""

from __future__ import annotations

import itertools
import math
import typing
from collections.abc import Callable
from typing import Any

import pytest
import torch
from variant_settings import CAUSAL, B, H, T, every_setting, normal, only

from tunemax.gpt.softmax import GUARD, Form, Variant, from_column, guard, to_column, variants
from tunemax.gpt.softmax.strongermax import Strongermax
from tunemax.gpt.testing.softmax import HALVES_AND_SINGLE, PROMISES

MISSION = ("softmax", "constantmax", "polymax", "strongermax", "softermax", "sigsoftmax", "sigsoftmax_base2")


def is_normalised(variant: Variant) -> bool:
    """Whether the weights of every row sum to 1."""
    if isinstance(variant, Strongermax):
        return variant.divide_by_sum and variant.divisor == 1 and variant.obo == 0 and not variant.div_by_seq_len
    return variant.name in ("softmax", "softermax", "sigsoftmax", "sigsoftmax_base2")


# --- the contract -----------------------------------------------------------------------------------------------------


@every_setting
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_it_keeps_what_every_variant_promises(promise: Callable[[Variant], None], variant: Variant) -> None:
    promise(variant)


@only(is_normalised)
def test_normalised_rows_sum_to_one(variant: Variant) -> None:
    logits = torch.cat([normal(B, H, T, T, scale=scale) for scale in (1, 30, 1e4)])
    sums = variant.weights(logits, CAUSAL).sum(dim=-1)
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=1e-12, atol=0)


# --- oracles: the formula of the reference table for the allowed keys of one row, in plain Python ---------------------


def ratio(numerators: list[float]) -> list[float]:
    return [numerator / sum(numerators) for numerator in numerators]


def constantmax(p: Any, row: list[float]) -> list[float]:
    return [p.base ** (x - p.beta) / p.gamma for x in row]


def polymax(p: Any, row: list[float]) -> list[float]:
    def value(x: float) -> float:
        if x < p.x0:
            return 0.0
        return p.y0 * (x - p.x0) / (0 - p.x0) if x <= 0 else x**p.power + p.y0

    return [value(x) / p.divisor / (len(row) if p.div_by_seq_len else 1) for x in row]


def strongermax(p: Any, row: list[float]) -> list[float]:
    row = [min(x, p.clamp_value) for x in row] if p.clamp else row
    m = max(row) if p.maximum == "row" else p.guess
    powers = [p.strength ** ((x - m) / p.temperature) for x in row]
    total = p.obo + sum(powers) if p.divide_by_sum else 1.0
    return [power / total / p.divisor / (len(row) if p.div_by_seq_len else 1) for power in powers]


ORACLES: dict[str, Callable[[Any, list[float]], list[float]]] = {
    "softmax": lambda p, row: ratio([math.exp(x) for x in row]),
    "softermax": lambda p, row: ratio([2**x for x in row]),
    "sigsoftmax": lambda p, row: ratio([math.exp(x) / (1 + math.exp(-x)) for x in row]),
    "sigsoftmax_base2": lambda p, row: ratio([p.base**x / (1 + p.base**-x) for x in row]),
    "constantmax": constantmax,
    "polymax": polymax,
    "strongermax": strongermax,
}


@only(lambda variant: variant.name in ORACLES)
def test_weights_are_those_of_the_formula(variant: Variant) -> None:
    logits = torch.cat([normal(1, T, T), normal(1, T, T, scale=7), normal(1, T, T, scale=5) - 8])
    rows = [logits[window, row, : row + 1].tolist() for window, row in itertools.product(range(3), range(T))]
    expected = [ORACLES[variant.name](variant, row) + [0.0] * (T - len(row)) for row in rows]
    torch.testing.assert_close(
        variant.weights(logits, CAUSAL), torch.tensor(expected, dtype=torch.float64).view(3, T, T), rtol=1e-11, atol=0
    )


def test_every_variant_of_the_mission_has_an_oracle() -> None:
    assert set(MISSION) <= set(variants())
    assert set(MISSION) <= set(ORACLES)


# --- the rest ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", typing.get_args(Form))
def test_a_learnable_survives_its_form(form: Form) -> None:
    for value in (1e-3, 0.5, 1.0, 2.5, 30.0, 100.0):
        column = torch.tensor(to_column(value, form), dtype=torch.float64)
        assert from_column(column, form).item() == pytest.approx(value, rel=1e-9)


def test_guard_is_documented_for_every_dtype_that_trains() -> None:
    assert all(
        guard(dtype) == GUARD[str(dtype).removeprefix("torch.")] for dtype in (torch.float64, *HALVES_AND_SINGLE)
    )
