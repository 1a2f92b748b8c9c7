"""What every softmax variant promises: see `Variant.weights`. A promise takes a variant in one of its settings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from tunemax.gpt.plugins.global_rng import GlobalRng
from tunemax.gpt.softmax import Variant, from_column
from tunemax.gpt.testing.variants import CAUSAL, B, D, H, T, bound, columns_of, normal, own_specs, search_ends

HALVES_AND_SINGLE = (torch.float32, torch.bfloat16, torch.float16)


def explains_itself(variant: Variant) -> None:
    """It says where its formula comes from, and each of its fields has a help and a range to be searched in."""
    cls = type(variant)
    assert cls.source
    assert cls.__doc__
    assert all(spec.help for spec in cls.specs())
    assert all(spec.declared.search is not None for spec in cls.specs())
    assert all(cls(**baseline) for baseline in cls.baselines)


def masked_keys_weigh_nothing_and_move_nothing(variant: Variant) -> None:
    """Weights are exactly 0 where the mask is False, as are gradients; shape and dtype are those of the logits."""
    for dtype in (torch.float32, torch.bfloat16):
        mask = torch.rand(B, 1, T, T, generator=torch.Generator().manual_seed(1)) < 0.6
        mask[0, 0, 2] = False  # a row that may attend to nothing
        logits = normal(B, H, T, T, scale=5, dtype=dtype).requires_grad_()
        columns = columns_of(variant, torch.float32)
        weights = bound(variant, columns).weights(logits, mask)
        torch.autograd.backward(weights, normal(*weights.shape, seed=2, dtype=dtype))
        assert weights.shape == logits.shape
        assert weights.dtype == logits.dtype
        assert (weights.masked_select(~mask) == 0).all()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert (logits.grad.masked_select(~mask) == 0).all()
        assert all(column.grad is not None and column.grad.isfinite().all() for column in columns.values())


def no_row_sees_the_future_and_each_sees_itself(variant: Variant) -> None:
    """A key changes the rows from its own on, and no earlier one."""
    logits = normal(B, H, T, T)
    weights = variant.weights(logits, CAUSAL)
    if variant.positive:
        assert (weights.diagonal(dim1=-2, dim2=-1) > 0).all()
    seen = []
    for token in range(T):
        moved = logits.clone()
        moved[..., token] += 0.5  # the key of this token changes
        changed = (variant.weights(moved, CAUSAL) != weights).any(dim=-1)
        assert not changed[..., :token].any()
        seen.append(changed[..., max(token, 1) :].flatten())  # a normalised row of one key has nothing to change
    assert torch.cat(seen).all() if variant.positive else torch.cat(seen).any()


def huge_logits_stay_finite(variant: Variant) -> None:
    """Output and gradients are finite at logits of ±1e4, in fp32, bf16 and fp16."""
    tokens = 32
    mask = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    signs = normal(1, H, tokens, tokens).sign()
    first = torch.where(torch.arange(tokens) == 0, 1.0, -1.0).double().expand_as(signs)
    mixed = torch.where(normal(1, H, tokens, tokens, seed=3) > 0, signs * 1e4, normal(1, H, tokens, tokens, seed=4))
    patterns = torch.cat(
        [torch.ones_like(signs) * 1e4, torch.ones_like(signs) * -1e4, signs * 1e4, first * 1e4, -first * 1e4, mixed]
    )
    for dtype in HALVES_AND_SINGLE:
        logits = patterns.to(dtype).requires_grad_()
        v = normal(*logits.shape[:-1], D, seed=5, dtype=dtype).requires_grad_()
        columns = columns_of(variant, torch.float32)
        output = bound(variant, columns).weights(logits, mask) @ v
        torch.autograd.backward(output, normal(*output.shape, seed=6, dtype=dtype))
        assert output.isfinite().all()
        for leaf in (logits, v, *columns.values()):
            assert leaf.grad is not None
            assert leaf.grad.isfinite().all()


def half_precision_only_rounds(variant: Variant) -> None:
    """bf16 and fp16 logits are computed with in fp32."""
    for dtype in (torch.bfloat16, torch.float16):
        logits = normal(B, H, T, T, scale=3, dtype=dtype)
        expected = variant.weights(logits.float(), CAUSAL)
        weights = variant.weights(logits, CAUSAL).float()
        inside = ~variant.guarded(logits, CAUSAL)  # fp16 has a lower guard
        torch.testing.assert_close(weights[inside], expected[inside], rtol=2 * torch.finfo(dtype).eps, atol=1e-7)


def rows_sum_to_one_exactly_where_it_says_so(variant: Variant) -> None:
    """`normalised` is whether the weights of every row add up to 1."""
    logits = torch.cat([normal(B, H, T, T, scale=scale) for scale in (1, 30, 1e4)])
    sums = variant.weights(logits, CAUSAL).sum(dim=-1)
    if variant.normalised:
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=1e-12, atol=0)
    else:
        assert ((sums - 1).abs() > 1e-4).any()


def weights_are_above_zero_where_it_says_so(variant: Variant) -> None:
    """`positive` is whether every allowed weight is above 0."""
    logits = torch.cat([normal(B, H, T, T), normal(B, H, T, T, scale=40, seed=1) - 40])
    assert bool((variant.weights(logits, CAUSAL)[..., CAUSAL] > 0).all()) == variant.positive


def a_row_takes_from_all_keys_where_it_says_so(variant: Variant) -> None:
    """`divides_by_sum` is where weights of a row depend on each other, which decides whether a sink means something."""
    values = {variant.field: variant.name} | {f"{variant.name}.{name}": value for name, value in dict(variant).items()}
    divided = any(
        all(values[name] in allowed for name, allowed in condition.items()) for condition in variant.divides_by_sum()
    )
    logits = normal(B, H, T, T, seed=3)
    logits[..., 0] = logits.amax(-1) + 0.01  # so it is the row maximum, if one is subtracted
    logits.requires_grad_()
    slopes = torch.autograd.grad(variant.weights(logits, CAUSAL)[..., -1, 0].sum(), logits)[0]
    assert bool((slopes[..., -1, 1:] != 0).any()) == divided


def learnables_get_gradients(variant: Variant) -> None:
    """What `learned` names is declared as learnable, and has an effect."""
    declared = {s.name for s in own_specs(type(variant)) if s.declared.learnable}
    assert set(variant.learned()) <= declared
    columns = columns_of(variant, torch.float32)
    if not columns:
        return
    weights = bound(variant, columns).weights(normal(B, H, T, T, dtype=torch.float32), CAUSAL)
    torch.autograd.backward((weights @ normal(B, H, T, D, seed=1, dtype=torch.float32)).square().sum())
    for field, column in columns.items():
        assert column.grad is not None
        assert (column.grad != 0).any(dim=-1).all(), field  # of several numbers not each is reached


def gradients_are_those_of_the_formula(variant: Variant) -> None:
    """As finite differences have them, but for what is rounded (`straight_through`), which has none."""
    logits = normal(1, H, 3, 3, scale=2).requires_grad_()
    columns = columns_of(variant, torch.float64)
    leaves = {"logits": logits, **columns}
    for name in variant.straight_through:
        if name in leaves:
            leaves[name] = leaves[name].detach()

    def weights(x: Tensor, *values: Tensor) -> Tensor:
        return bound(variant, dict(zip(columns, values, strict=True))).weights(x, CAUSAL[:3, :3])

    if any(leaf.requires_grad for leaf in leaves.values()):
        assert torch.autograd.gradcheck(weights, tuple(leaves.values()), rtol=1e-4, atol=1e-8)


def padding_changes_nothing(variant: Variant) -> None:
    """Masked keys behind the others, and rows that are left out, are without effect."""
    logits = normal(B, H, T, T, scale=3)
    weights = variant.weights(logits, CAUSAL)
    padding = normal(B, H, T, 3, scale=1e4)
    mask = torch.cat([CAUSAL, torch.zeros(T, 3, dtype=torch.bool)], dim=-1)
    padded = variant.weights(torch.cat([logits, padding], dim=-1), mask)
    torch.testing.assert_close(padded[..., :T], weights, rtol=1e-12, atol=0)
    short = variant.weights(logits[..., :3, :3], CAUSAL[:3, :3])
    torch.testing.assert_close(weights[..., :3, :3], short, rtol=1e-12, atol=0)


def rows_by_themselves_are_what_they_are_beside_others(variant: Variant) -> None:
    """As a text is written: one query at a time, against all keys so far, with merged constants."""
    logits = normal(B, H, T, T, scale=3)
    weights = bound(variant, columns_of(variant, torch.float64)).weights(logits, CAUSAL)
    merged = bound(variant, columns_of(variant, torch.float64)).merged(logits)
    for token in range(T):
        rows, seen = logits[..., token : token + 1, : token + 1], CAUSAL[token : token + 1, : token + 1]
        torch.testing.assert_close(merged(rows, seen), weights[..., token : token + 1, : token + 1], rtol=1e-12, atol=0)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        rounded = logits.to(dtype)
        assert torch.equal(variant.merged(rounded)(rounded, CAUSAL), variant.weights(rounded, CAUSAL))


def stacked_members_equal_single_ones_bitwise(variant: Variant) -> None:
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


def gradients_of_stacked_members_equal_single_ones_bitwise(variant: Variant) -> None:
    """As their weights do."""
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


def a_guarded_logit_has_no_effect_and_any_other_has_one(variant: Variant) -> None:
    """`guarded` is where a guard acts, and nowhere else."""
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
        acts, weight = bool(guarded[..., row + 1, key]), float(weights[..., row + 1, key].detach())
        flat = weight == 0 or (weight == 1 and not variant.positive)  # where the formula itself is
        assert not (acts and changed)
        below_rounding = 0 < abs(float(gradient[..., row + 1, key])) < 1e-12
        assert acts or flat or changed or below_rounding


def attend_equals_weights(variant: Variant) -> None:
    """A fused path computes what `weights` says."""
    q, k, v = (normal(3, B, H, T, D, seed=seed) for seed in range(3))
    expected = variant.weights(q @ k.mT / math.sqrt(D), CAUSAL) @ v
    torch.testing.assert_close(variant.attend(q, k, v), expected, rtol=1e-10, atol=1e-14)


def draws_nothing_from_a_global_generator(variant: Variant) -> None:
    """Weights follow from logits alone."""
    before, logits = GlobalRng.now(), normal(B, H, T, T)
    weights = variant.weights(logits, CAUSAL)
    assert before.moved() is None
    assert torch.equal(weights, variant.weights(logits, CAUSAL))


PROMISES: tuple[Callable[[Variant], None], ...] = (
    explains_itself,
    masked_keys_weigh_nothing_and_move_nothing,
    no_row_sees_the_future_and_each_sees_itself,
    huge_logits_stay_finite,
    half_precision_only_rounds,
    rows_sum_to_one_exactly_where_it_says_so,
    weights_are_above_zero_where_it_says_so,
    a_row_takes_from_all_keys_where_it_says_so,
    learnables_get_gradients,
    gradients_are_those_of_the_formula,
    padding_changes_nothing,
    rows_by_themselves_are_what_they_are_beside_others,
    stacked_members_equal_single_ones_bitwise,
    gradients_of_stacked_members_equal_single_ones_bitwise,
    a_guarded_logit_has_no_effect_and_any_other_has_one,
    attend_equals_weights,
    draws_nothing_from_a_global_generator,
)
