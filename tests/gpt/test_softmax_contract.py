"""The contract of a softmax variant, over every registered one and a spread of its settings: see variant_settings."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Callable

import pytest
import torch
from softmax_oracles import ORACLES, expected
from variant_settings import CAUSAL, T, every_setting, normal, only

from tunemax.gpt.softmax import GUARD, Form, Variant, from_column, guard, to_column, variants
from tunemax.gpt.testing.softmax import HALVES_AND_SINGLE, PROMISES

# --- the contract -----------------------------------------------------------------------------------------------------


@every_setting
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_it_keeps_what_every_variant_promises(promise: Callable[[Variant], None], variant: Variant) -> None:
    promise(variant)


# --- the formula, written once more in tests/softmax_oracles.py ------------------------------------------------------


@only(lambda variant: variant.name in ORACLES)
def test_weights_are_those_of_the_formula(variant: Variant) -> None:
    logits = torch.cat([normal(1, T, T), normal(1, T, T, scale=7), normal(1, T, T, scale=5) - 8])
    rows = [logits[window, row, : row + 1].tolist() for window, row in itertools.product(range(3), range(T))]
    oracle = [expected(variant, row) + [0.0] * (T - len(row)) for row in rows]
    right = torch.tensor(oracle, dtype=torch.float64).view(3, T, T)
    torch.testing.assert_close(variant.weights(logits, CAUSAL), right, rtol=1e-12, atol=1e-15)


def test_every_variant_of_the_product_has_an_oracle() -> None:
    ours = {name for name, cls in variants().items() if cls.__module__.startswith("tunemax.gpt.softmax.")}
    assert ours == set(ORACLES)


# --- the rest ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", typing.get_args(Form))
def test_a_learnable_survives_its_form(form: Form) -> None:
    for value in (1e-3, 0.5, 1.0, 2.5, 30.0, 100.0):
        column = torch.tensor(to_column(value, form), dtype=torch.float64)
        assert from_column(column, form).item() == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("name", ORACLES)
def test_ours_say_their_formula_and_what_a_weight_takes(name: str) -> None:
    assert variants()[name].formula
    assert variants()[name].work


def test_guard_is_documented_for_every_dtype_that_trains() -> None:
    assert all(
        guard(dtype) == GUARD[str(dtype).removeprefix("torch.")] for dtype in (torch.float64, *HALVES_AND_SINGLE)
    )
