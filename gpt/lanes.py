"""Which members of a stack have which softmax variant, and what they learn of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tunemax.gpt.lazy import torch
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.softmax import Variant, from_column, variants

if TYPE_CHECKING:
    from torch import Tensor

Views = Mapping[str, "Tensor"]
"""The parameters of K members by name, (K, *shape)."""
Drop = Callable[["Tensor", str], "Tensor"]
"""Dropout of (K, …) at a site of the model, by its name."""
Observer = Callable[[int, Variant, "Tensor", "Tensor"], None]
"""Called with (layer, bound variant, logits (k, B, S, T, T), mask (T, T)) for each lane of each layer."""


@dataclass(frozen=True)
class Lane:
    """The rows of one variant and code path: contiguous in `theta`."""

    variant: Variant
    rows: slice
    scalars: Mapping[str, Tensor]
    """The variant's float fields that SGD does not move, (k, 1, 1, 1, 1), one value a member."""
    amounts: Mapping[str, Tensor] = field(default_factory=dict)
    """Of fields that 0 switches off those that are on, and the output distribution's, (k,), one value a member."""

    @property
    def numbers(self) -> tuple[Tensor, ...]:
        """All of them, in a fixed order."""
        return (*self.scalars.values(), *self.amounts.values())

    def with_numbers(self, values: Iterator[Tensor]) -> Lane:
        """This lane with the next values in place of its numbers, in their order."""
        scalars = {name: next(values) for name in self.scalars}
        return Lane(self.variant, self.rows, scalars, {name: next(values) for name in self.amounts})

    def bound(self, layer: int, views: Views, windows: int, counts: Sequence[int] | None = None) -> Variant:
        """The variant with this layer's values, each broadcastable to logits (k, B, S, T, T), B being `windows`; a
        learnable of n numbers (`Variant.sizes`) is (k, B, S, 1, n).

        counts: how many of the S softmaxes belong to each head; None for one.
        """
        values = dict(self.scalars)
        for name, form in self.variant.learned().items():
            columns = views[_learnable(layer, f"{self.variant.name}.{name}")][self.rows]  # (k, H), or (k, H, n)
            used = columns if self.variant.per_head else columns[:, :1].expand_as(columns)
            # Spread over windows and heads, so that the gradient is summed window by window: one sum of everything
            # would be shared out between threads, and differently when a member is alone.
            value = from_column(spread(used, counts, 1), form)  # (k, S), or (k, S, n)
            value = value.view(*value.shape[:2], -1)[:, None, :, None]
            values[name] = value.expand(-1, windows, -1, 1, -1)
        return self.variant.bind(values)

    def weights(
        self, layer: int, views: Views, logits: Tensor, mask: Tensor, counts: Sequence[int] | None = None
    ) -> Tensor:
        """Those of attention, from logits (k, B, …, T, S) of these rows and a mask that broadcasts to them."""
        return self.bound(layer, views, logits.shape[1], counts).weights(logits, mask)


@dataclass(frozen=True)
class Settled(Lane):
    """A lane whose numbers stay as they are, and have no gradient: it is bound once a layer, with merged constants."""

    _known: dict[int, Callable[[Tensor, Tensor], Tensor]] = field(default_factory=dict)

    def weights(
        self, layer: int, views: Views, logits: Tensor, mask: Tensor, counts: Sequence[int] | None = None
    ) -> Tensor:
        if layer not in self._known:
            one_for_all = 1  # windows, which differ in nothing
            self._known[layer] = self.bound(layer, views, one_for_all, counts).merged(logits)
        return self._known[layer](logits, mask)


def amounts(lanes: Sequence[Lane], name: str) -> Tensor | None:
    """Of such a field, the values of all members (K,); None where it is off."""
    parts = [lane.amounts[name] for lane in lanes if name in lane.amounts]
    return torch.cat(parts) if parts else None


def spread(x: Tensor, counts: Sequence[int] | None, dim: int) -> Tensor:
    """What stands along a dimension so many times each; None for once."""
    if counts is None:
        return x
    return torch.cat([x.narrow(dim, place, 1) for place, count in enumerate(counts) for _ in range(count)], dim)


def variant_parameters(layer: int, heads: int) -> Iterator[Parameter]:
    """What a layer may learn of all variants, so that their members look alike."""
    for variant in variants().values():
        for spec in variant.specs():
            if spec.declared.learnable:
                size = variant.sizes.get(spec.name.rpartition(".")[2])
                shape = (heads,) if size is None else (heads, size)
                yield Parameter(_learnable(layer, spec.name), shape, "scalar", field=spec.name)


def _learnable(layer: int, field: str) -> str:
    """The name of what a layer learns of a field."""
    return f"h.{layer}.{field}"
