"""Settings of a softmax variant, and what promises about it are made with.

The settings come from the declarations of the fields: each option alone and with each other one, both ends of each
search range, the baselines.

Shapes: logits (B, H, T, T) with B windows, H heads, T tokens; learnables (1 or H, 1, 1), or (1 or H, 1, n) of
one of n numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from tunemax.gpt.fields import Above, Choices, FieldSpec, Range, specs_of
from tunemax.gpt.softmax import Variant, from_column, to_column, variants

B, H, T, D = 2, 2, 6, 4
CAUSAL = torch.ones(T, T, dtype=torch.bool).tril()


def own_specs(cls: type[Variant]) -> list[FieldSpec]:
    return specs_of(cls, "model")


def search_ends(spec: FieldSpec) -> tuple[Any, ...]:
    """The ends of a number's search range, or all its choices; nothing for a field without one."""
    search = spec.declared.search
    if isinstance(search, Choices):
        return search.values
    return (search.low, search.high) if isinstance(search, Range) else ()


def conditions(spec: FieldSpec) -> dict[str, Any]:
    """What switches a field on, beside the defaults, of which a number that has to be above another one is so."""
    return {name: allowed[0] for name, allowed in spec.when.items() if not isinstance(allowed, Above)}


def spread(cls: type[Variant]) -> Iterator[dict[str, Any]]:
    """Fields to change, one dictionary a setting. Learnables start at the top of their range where options are tried: a
    learnable with a positive form refuses a start of 0. Two options that it has from another variant are tried together
    with that one."""
    specs = own_specs(cls)
    yield from (dict(baseline) for baseline in cls.baselines)
    yield from ({**conditions(s), s.name: end} for s in specs if not s.options for end in search_ends(s))
    starts = {s.name: search_ends(s)[-1] for s in specs if s.declared.learnable}
    choices = [(s.name, {**conditions(s), s.name: option}) for s in specs for option in s.options]
    yield from ({**starts, **choice} for _, choice in choices)
    of_others = {name for base in variants().values() if base in cls.__mro__[1:] for name in base.model_fields}
    for (one, choice), (other, beside) in itertools.combinations(choices, 2):
        if not {one, other} <= of_others:
            yield {**starts, **choice, **beside}


def settings_of(cls: type[Variant]) -> dict[str, Variant]:
    """The variant in each different setting, by what is changed."""
    found: dict[tuple[Any, ...], tuple[str, Variant]] = {}
    for changes in spread(cls):
        variant = cls(**changes)
        values = dict(variant)
        active = {s.name: values[s.name] for s in own_specs(cls) if s.active(values)}
        label = ",".join(
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in changes.items()
        )
        found.setdefault(tuple(active.items()), (label or "defaults", variant))
    return dict(found.values())


def normal(*shape: int, scale: float = 1.0, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale).to(dtype)


def columns_of(variant: Variant, dtype: torch.dtype) -> dict[str, Tensor]:
    """The numbers in `theta` for a layer's learnables, leaves of (H or 1, 1, 1), or (H or 1, 1, n) of one of n numbers,
    each a little different."""
    heads = H if variant.per_head else 1
    columns = {}
    for field, form in variant.learned().items():
        size = variant.sizes.get(field, 1)
        column = to_column(getattr(variant, field), form) + 0.1 * torch.arange(heads * size, dtype=dtype)
        columns[field] = column.view(heads, 1, size).requires_grad_()
    return columns


def bound(variant: Variant, columns: Mapping[str, Tensor]) -> Variant:
    forms = variant.learned()
    return variant.bind({field: from_column(column, forms[field]) for field, column in columns.items()})
