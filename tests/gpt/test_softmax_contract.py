"""The contract of a softmax variant, over every registered one and a spread of its settings: see variant_settings."""

from __future__ import annotations

import itertools
import math
import typing
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from variant_settings import CAUSAL, B, D, H, T, bound, columns_of, every_setting, normal, only, own_specs, search_ends

from tunemax.gpt.softmax import GUARD, Form, Variant, from_column, guard, to_column, variants
from tunemax.gpt.softmax.strongermax import Strongermax

HALVES_AND_SINGLE = (torch.float32, torch.bfloat16, torch.float16)
MISSION = ("softmax", "constantmax", "polymax", "strongermax", "softermax", "sigsoftmax", "sigsoftmax_base2")


def is_normalised(variant: Variant) -> bool:
    """Whether the weights of every row sum to 1."""
    if isinstance(variant, Strongermax):
        return variant.divide_by_sum and variant.divisor == 1 and variant.obo == 0 and not variant.div_by_seq_len
    return variant.name in ("softmax", "softermax", "sigsoftmax", "sigsoftmax_base2")


# --- the contract -----------------------------------------------------------------------------------------------------


@every_setting
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_masked_keys_weigh_nothing_and_move_nothing(variant: Variant, dtype: torch.dtype) -> None:
    mask = torch.rand(B, 1, T, T, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[0, 0, 2] = False  # a row that may attend to nothing
    logits = normal(B, H, T, T, scale=5, dtype=dtype).requires_grad_()
    columns = columns_of(variant, torch.float32)
    weights = bound(variant, columns).weights(logits, mask)
    weights.backward(normal(*weights.shape, seed=2, dtype=dtype))
    assert weights.shape == logits.shape
    assert weights.dtype == logits.dtype
    assert (weights.masked_select(~mask) == 0).all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad.masked_select(~mask) == 0).all()
    assert all(column.grad is not None and column.grad.isfinite().all() for column in columns.values())


@every_setting
def test_no_row_sees_the_future_and_each_sees_itself(variant: Variant) -> None:
    logits = normal(B, H, T, T)
    weights = variant.weights(logits, CAUSAL)
    assert (weights.diagonal(dim1=-2, dim2=-1) > 0).all()
    for token in range(T):
        moved = logits.clone()
        moved[..., token] += 0.5  # the key of this token changes
        changed = (variant.weights(moved, CAUSAL) != weights).any(dim=-1)
        assert not changed[..., :token].any()
        assert changed[..., max(token, 1) :].all()  # a normalised row of one key has nothing to change


@every_setting
@pytest.mark.parametrize("dtype", HALVES_AND_SINGLE, ids=str)
def test_huge_logits_stay_finite(variant: Variant, dtype: torch.dtype) -> None:
    tokens = 32
    mask = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    signs = normal(1, H, tokens, tokens).sign()
    first = torch.where(torch.arange(tokens) == 0, 1.0, -1.0).double().expand_as(signs)
    mixed = torch.where(normal(1, H, tokens, tokens, seed=3) > 0, signs * 1e4, normal(1, H, tokens, tokens, seed=4))
    patterns = torch.cat(
        [torch.ones_like(signs) * 1e4, torch.ones_like(signs) * -1e4, signs * 1e4, first * 1e4, -first * 1e4, mixed]
    )
    logits = patterns.to(dtype).requires_grad_()
    v = normal(*logits.shape[:-1], D, seed=5, dtype=dtype).requires_grad_()
    columns = columns_of(variant, torch.float32)
    output = bound(variant, columns).weights(logits, mask) @ v
    output.backward(normal(*output.shape, seed=6, dtype=dtype))
    assert output.isfinite().all()
    for leaf in (logits, v, *columns.values()):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


@every_setting
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_only_rounds(variant: Variant, dtype: torch.dtype) -> None:
    logits = normal(B, H, T, T, scale=3, dtype=dtype)
    expected = variant.weights(logits.float(), CAUSAL)
    weights = variant.weights(logits, CAUSAL).float()
    inside = ~variant.guarded(logits, CAUSAL)  # fp16 has a lower guard
    torch.testing.assert_close(weights[inside], expected[inside], rtol=2 * torch.finfo(dtype).eps, atol=1e-7)


@only(is_normalised)
def test_normalised_rows_sum_to_one(variant: Variant) -> None:
    logits = torch.cat([normal(B, H, T, T, scale=scale) for scale in (1, 30, 1e4)])
    sums = variant.weights(logits, CAUSAL).sum(dim=-1)
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=1e-12, atol=0)


@only(lambda variant: variant.learned())
def test_learnables_get_gradients(variant: Variant) -> None:
    declared = {s.name for s in own_specs(type(variant)) if s.declared.learnable}
    assert set(variant.learned()) <= declared
    columns = columns_of(variant, torch.float32)
    weights = bound(variant, columns).weights(normal(B, H, T, T, dtype=torch.float32), CAUSAL)
    (weights @ normal(B, H, T, D, seed=1, dtype=torch.float32)).square().sum().backward()
    for field, column in columns.items():
        assert column.grad is not None
        assert (column.grad != 0).all(), field


@every_setting
def test_gradients_are_those_of_the_formula(variant: Variant) -> None:
    logits = normal(1, H, 3, 3, scale=2).requires_grad_()
    columns = columns_of(variant, torch.float64)

    def weights(x: Tensor, *values: Tensor) -> Tensor:
        return bound(variant, dict(zip(columns, values, strict=True))).weights(x, CAUSAL[:3, :3])

    assert torch.autograd.gradcheck(weights, (logits, *columns.values()), rtol=1e-4, atol=1e-8)


@every_setting
def test_padding_changes_nothing(variant: Variant) -> None:
    logits = normal(B, H, T, T, scale=3)
    weights = variant.weights(logits, CAUSAL)
    padding = normal(B, H, T, 3, scale=1e4)
    mask = torch.cat([CAUSAL, torch.zeros(T, 3, dtype=torch.bool)], dim=-1)
    padded = variant.weights(torch.cat([logits, padding], dim=-1), mask)
    torch.testing.assert_close(padded[..., :T], weights, rtol=1e-12, atol=0)
    short = variant.weights(logits[..., :3, :3], CAUSAL[:3, :3])
    torch.testing.assert_close(weights[..., :3, :3], short, rtol=1e-12, atol=0)


@every_setting
def test_rows_by_themselves_and_with_merged_constants_are_what_they_are_beside_others(variant: Variant) -> None:
    """As a text is written: one query at a time, against all keys so far."""
    logits = normal(B, H, T, T, scale=3)
    weights = bound(variant, columns_of(variant, torch.float64)).weights(logits, CAUSAL)
    merged = bound(variant, columns_of(variant, torch.float64)).merged(logits)
    for token in range(T):
        rows, seen = logits[..., token : token + 1, : token + 1], CAUSAL[token : token + 1, : token + 1]
        torch.testing.assert_close(merged(rows, seen), weights[..., token : token + 1, : token + 1], rtol=1e-12, atol=0)
    for dtype in HALVES_AND_SINGLE:
        rounded = logits.to(dtype)
        assert torch.equal(variant.merged(rounded)(rounded, CAUSAL), variant.weights(rounded, CAUSAL))


@every_setting
def test_stacked_members_equal_single_ones_bitwise(variant: Variant) -> None:
    """Every float field is bound with one value a member; a learnable also with one a head if it is not shared."""
    members = 3
    logits = normal(members, B, H, T, T, scale=3, dtype=torch.float32)
    values = {}
    for spec in own_specs(type(variant)):
        if spec.is_scalar:
            ends = search_ends(spec)
            heads = H if variant.per_head and spec.name in variant.learned() else 1
            values[spec.name] = torch.linspace(ends[0], ends[-1], members * heads).view(members, 1, heads, 1, 1)
    stacked = variant.bind(values).weights(logits, CAUSAL)
    for member, head in itertools.product(range(members), range(H)):
        numbers = {name: value[member, 0, min(head, value.shape[2] - 1), 0, 0].item() for name, value in values.items()}
        alone = variant.model_copy(update=numbers).weights(logits[member, :, head], CAUSAL)
        assert torch.equal(stacked[member, :, head], alone)


@every_setting
def test_gradients_of_stacked_members_equal_single_ones_bitwise(variant: Variant) -> None:
    members, forms = 3, variant.learned()
    logits = normal(members, B, H, T, T, scale=3, dtype=torch.float32)
    towards = normal(*logits.shape, seed=1, dtype=torch.float32)
    starts = columns_of(variant, torch.float32)
    columns = [
        torch.stack([start.detach() + 0.1 * member for member in range(members)]).unsqueeze(1)
        for start in starts.values()
    ]

    def gradients(some: slice) -> tuple[Tensor, ...]:
        leaves = [part[some].clone().requires_grad_() for part in (logits, *columns)]
        values = {field: from_column(leaf, forms[field]) for field, leaf in zip(starts, leaves[1:], strict=True)}
        return torch.autograd.grad(variant.bind(values).weights(leaves[0], CAUSAL), leaves, towards[some])

    together = gradients(slice(None))
    for member in range(members):
        own = slice(member, member + 1)
        assert all(torch.equal(part[own], alone) for part, alone in zip(together, gradients(own), strict=True))


@every_setting
def test_a_guarded_logit_has_no_effect_and_any_other_has_one(variant: Variant) -> None:
    logits = normal(1, 1, T, T, scale=25, seed=7).requires_grad_()
    mask = CAUSAL.clone()
    mask[0] = False  # a normalised row of one key has nothing to change
    mask[0, 0] = True
    weights = variant.weights(logits, mask)
    guarded = variant.guarded(logits, mask)
    assert not guarded.masked_select(~mask).any()
    gradient = torch.autograd.grad(weights, logits, normal(1, 1, T, T, seed=8))[0]
    assert (gradient[guarded] == 0).all()
    for row, key in mask[1:].nonzero().tolist():
        moved = logits.detach().clone()
        moved[..., row + 1, key] += 1e-3
        changed = bool((variant.weights(moved, mask) != weights).any())
        flat = bool(weights[..., row + 1, key] == 0)  # where the formula itself is 0
        assert changed == (not flat and not bool(guarded[..., row + 1, key]))


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


@pytest.mark.parametrize("name", variants())
def test_attend_equals_weights(name: str) -> None:
    variant = variants()[name]()
    q, k, v = (normal(3, B, H, T, D, seed=seed) for seed in range(3))
    expected = variant.weights(q @ k.mT / math.sqrt(D), CAUSAL) @ v
    torch.testing.assert_close(variant.attend(q, k, v), expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("form", typing.get_args(Form))
def test_a_learnable_survives_its_form(form: Form) -> None:
    for value in (1e-3, 0.5, 1.0, 2.5, 30.0, 100.0):
        column = torch.tensor(to_column(value, form), dtype=torch.float64)
        assert from_column(column, form).item() == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("name", variants())
def test_variants_and_their_fields_explain_themselves(name: str) -> None:
    cls = variants()[name]
    assert cls.source
    assert cls.__doc__
    assert all(spec.help for spec in cls.specs())
    assert all(spec.declared.search is not None for spec in cls.specs())
    assert all(cls(**baseline) for baseline in cls.baselines)


def test_guard_is_documented_for_every_dtype_that_trains() -> None:
    assert all(
        guard(dtype) == GUARD[str(dtype).removeprefix("torch.")] for dtype in (torch.float64, *HALVES_AND_SINGLE)
    )
