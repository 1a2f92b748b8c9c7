"""Over every softmax variant: numbers are exact to rounding, and a parameter means something where it is not inert."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
import torch
from torch import Tensor
from variant_settings import CAUSAL, H, T, bound, columns_of, every_setting, normal, own_specs, search_ends

from tunemax.gpt.fields import FieldSpec
from tunemax.gpt.softmax import Variant


@every_setting
@pytest.mark.parametrize("size", [1e4, 1.0, 1e-4], ids="{:g}".format)
def test_single_precision_is_exact_to_rounding_at_any_size(variant: Variant, size: float) -> None:
    """Against the same logits in fp64: around ±size, a row of neighbours and one of both signs. Numbers are bound as
    fp32 has them, so that only the arithmetic differs."""
    near = normal(1, H, T, T, scale=3, dtype=torch.float32).round(decimals=2)
    signs = normal(1, H, T, T, seed=3, dtype=torch.float32).sign()
    patterns = torch.cat([size + near, near - size, signs * size + near, signs * size])
    towards = normal(*patterns.shape, seed=4, dtype=torch.float32)
    numbers = {
        spec.name: torch.tensor(getattr(variant, spec.name)) for spec in own_specs(type(variant)) if spec.is_scalar
    }

    def results(dtype: torch.dtype) -> list[Tensor]:
        logits = patterns.to(dtype).requires_grad_()
        columns = {
            name: c.detach().to(dtype).requires_grad_() for name, c in columns_of(variant, torch.float32).items()
        }
        held = variant.bind({name: value.to(dtype) for name, value in numbers.items()})
        weights = bound(held, columns).weights(logits, CAUSAL)
        loss = (weights * towards.to(dtype)).sum()
        return [weights.detach(), *torch.autograd.grad(loss, [logits, *columns.values()])]

    (weights, gradient, *columns), exact = results(torch.float32), results(torch.float64)
    share = (exact[0] * towards).abs()  # of each weight in the loss
    scales = [exact[0].abs(), torch.maximum(share, exact[1].abs()), *(share.sum() + part.abs() for part in exact[2:])]
    for found, right, scale in zip([weights, gradient, *columns], exact, scales, strict=True):
        of_row = scale.amax(dim=-1, keepdim=True) if scale.dim() > 3 else scale
        assert ((found - right).abs() <= 2e-5 * of_row + 1e-37).all()  # fp32 has no full precision below


LOGITS = torch.cat([normal(1, H, T, T, scale=scale) + at for scale, at in ((3, 0), (60, 0), (3, 1e4), (3, -1e4))])
"""Of any size."""


def differ(one: Variant, other: Variant) -> bool:
    """Whether two settings of a variant train different things: in their weights, or in what SGD moves."""
    learned = one.learned()
    if (learned, learned and one.per_head) != (other.learned(), learned and other.per_head):
        return True
    weights = (variant.weights(LOGITS, CAUSAL) for variant in (one, other))
    return not torch.allclose(*weights, rtol=1e-12, atol=0)


def valid(variant: Variant, **changes: Any) -> list[Variant]:
    try:
        return [type(variant)(**{**dict(variant), **changes})]
    except pydantic.ValidationError:
        return []  # such as an obo of 0 that is to be learned


def widest(spec: FieldSpec) -> tuple[Any, ...]:
    """All that a field may come to be: where it is searched, and where an agent may move it."""
    control = spec.declared.control
    return (*search_ends(spec), *([control.low, control.high] if control else []))


def bounds(spec: FieldSpec) -> list[float]:
    """The ends of the valid range of a number."""
    return [getattr(item, name) for item in spec.info.metadata for name in ("ge", "le") if hasattr(item, name)]


@every_setting
def test_a_parameter_means_something_exactly_where_it_is_not_inert(variant: Variant) -> None:
    """So no two settings that train the same thing are two trials. Tried in every setting, and with each number at the
    ends of its valid range."""
    specs = own_specs(type(variant))
    at_bounds = [one for s in specs if s.is_scalar for end in bounds(s) for one in valid(variant, **{s.name: end})]
    for setting in (variant, *at_bounds):
        values = dict(setting)
        for spec in specs:
            others = [{spec.name: value} for value in {*spec.options, *search_ends(spec), spec.default}]
            others = [other for other in others if other[spec.name] != values[spec.name]]
            switched = [s for s in specs if spec.name in s.when]
            others += [{**other, s.name: end} for other in others for s in switched for end in widest(s)]
            changed = [differ(other, setting) for changes in others for other in valid(setting, **changes)]
            if spec.active(values):
                assert any(changed) or not changed, f"{spec.name} changes nothing at {values}"
            else:
                assert not any(changed), f"{spec.name} is not inert at {values}"
