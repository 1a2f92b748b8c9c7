"""Which members of a stack have which softmax variant, and what they learn of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunemax.gpt.parameters import Parameter
from tunemax.gpt.softmax import Variant, from_column, variants

if TYPE_CHECKING:
    from torch import Tensor

Views = Mapping[str, "Tensor"]
"""The parameters of K members by name, (K, *shape)."""
Drop = Callable[["Tensor", str], "Tensor"]
"""Dropout of (K, …) at a site of the model, by its name."""
Observer = Callable[[int, Variant, "Tensor", "Tensor"], None]
"""Called with (layer, bound variant, logits (k, B, H, T, T), mask (T, T)) for each lane of each layer."""


@dataclass(frozen=True)
class Lane:
    """The rows of one variant and code path: contiguous in `theta`."""

    variant: Variant
    rows: slice
    scalars: Mapping[str, Tensor]
    """The float fields that SGD does not move, (k, 1, 1, 1, 1), one value a member."""

    def with_scalars(self, values: Iterator[Tensor]) -> Lane:
        """This lane with the next values in place of its scalars, in their order."""
        return Lane(self.variant, self.rows, {name: next(values) for name in self.scalars})

    def bound(self, layer: int, views: Views, windows: int) -> Variant:
        """The variant with this layer's values, each broadcastable to logits (k, B, H, T, T), B being `windows`."""
        values = dict(self.scalars)
        for field, form in self.variant.learned().items():
            columns = views[_learnable(layer, f"{self.variant.name}.{field}")][self.rows]  # (k, H)
            used = columns if self.variant.per_head else columns[:, :1].expand_as(columns)
            # Spread over windows and heads, so that the gradient is summed window by window: one sum of everything
            # would be shared out between threads, and differently when a member is alone.
            values[field] = from_column(used, form)[:, None, :, None, None].expand(-1, windows, -1, 1, 1)
        return self.variant.bind(values)


def variant_parameters(layer: int, heads: int) -> Iterator[Parameter]:
    """What a layer may learn of all variants, so that their members look alike."""
    for variant in variants().values():
        for spec in variant.specs():
            if spec.declared.learnable:
                yield Parameter(_learnable(layer, spec.name), (heads,), "scalar", field=spec.name)


def _learnable(layer: int, field: str) -> str:
    """The name of what a layer learns of a field."""
    return f"h.{layer}.{field}"
