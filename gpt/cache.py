"""Keys and values of tokens that a member has read, so that the next one is computed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Cache:
    """What each layer keeps of the tokens so far: keys as they are met, that is with their places, and values.

    Args:
        capacity: tokens that it can hold, such as a context.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        """Tokens that all layers have read."""
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def extended(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens so far, (K, B, G, length + T, D) each, with those of the next T added."""
        if layer not in self._layers:
            room = (*k.shape[:3], self.capacity, k.shape[-1])
            self._layers[layer] = k.new_empty(room), v.new_empty(room)
        end = self.length + k.shape[-2]
        parts = []
        for held, new in zip(self._layers[layer], (k, v), strict=True):
            held[..., self.length : end, :] = new
            parts.append(held[..., :end, :])
        return parts[0], parts[1]

    def spread(self, windows: int) -> None:
        """Let so many windows go on from the one that was read."""
        self._layers = {
            layer: (k.repeat_interleave(windows, 1), v.repeat_interleave(windows, 1))
            for layer, (k, v) in self._layers.items()
        }
