"""The contract of an attention kind, and what all of them share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunemax.gpt.lanes import Drop, Lane, Observer, Views
from tunemax.gpt.lazy import torch
from tunemax.gpt.linear import linear, linear_parameters, scaled
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.parts import Part
from tunemax.gpt.positions import Positions
from tunemax.gpt.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where attention is computed, and with what: a layer of K members on B windows of T tokens."""

    layer: int
    shape: Shape
    views: Views
    positions: Positions
    mask: Tensor
    """(T, T), True where a query may attend to a key."""
    causal: bool
    """Whether that is all keys up to its own."""
    lanes: Sequence[Lane]
    dropout: Drop | None
    observe: Observer | None

    @property
    def name(self) -> str:
        """Before the names of the layer's parameters."""
        return f"h.{self.layer}.attn"


class Attention(Part, field="attention", noun="attention kind"):
    """What a token takes from those before it, through the members' softmax variants.

    H query heads of width D read G heads of keys and values. A kind says how many there are, and what meets what:
    `logits` and `mixed`.
    """

    def check(self, shape: Shape) -> None:
        """Raise ValueError for a model of which it cannot be a part."""
        if shape.n_embd % shape.n_head:
            raise ValueError(f"n_embd = {shape.n_embd} is not divisible by n_head = {shape.n_head}; change one of them")

    def head_width(self, shape: Shape) -> int:
        """D."""
        return shape.n_embd // shape.n_head

    def kv_heads(self, shape: Shape) -> int:
        """G."""
        return shape.n_head

    def _widths(self, shape: Shape) -> list[int]:
        """Of all queries, all keys and all values side by side."""
        queries, keys = (heads * self.head_width(shape) for heads in (shape.n_head, self.kv_heads(shape)))
        return [queries, keys, keys]

    def parameters(self, name: str, shape: Shape) -> Iterator[Parameter]:
        """Of the layer whose parameters' names begin like this."""
        widths = self._widths(shape)
        yield from linear_parameters(f"{name}.qkv", shape.n_embd, sum(widths), shape.bias, blocks=tuple(widths))
        yield from linear_parameters(f"{name}.proj", widths[0], shape.n_embd, shape.bias, shrink=shape.residual_shrink)

    def flops(self, shape: Shape) -> float:
        """Floating-point operations on one token in one layer, forward, beside those of linear layers: of products of
        queries and keys, and of weights and values. Masked ones count."""
        return 4.0 * shape.n_head * self.head_width(shape) * shape.block_size

    def seen(self, distance: Tensor) -> Tensor | None:
        """Where a key may be seen that lies so many places (T, T) before its query; None if everywhere."""
        return None

    def __call__(self, x: Tensor, place: Place) -> Tensor:
        """(K, B, T, C) to the same."""
        K, B, T, _ = x.shape
        D, widths = self.head_width(place.shape), self._widths(place.shape)
        qkv = linear(place.views, f"{place.name}.qkv", x)
        q, k, v = (part.view(K, B, T, -1, D).transpose(2, 3) for part in torch.split(qkv, widths, dim=-1))
        q, k = place.positions.turned(q), place.positions.turned(k)  # (K, B, H, T, D), (K, B, G, T, D)
        q = scaled(q, place.shape.query_scale(D))
        heads = fused(q, k, v, place)
        if heads is None:
            heads = self.mixed(weigh(self.logits(q * D**-0.5, k), place), v)
        return linear(place.views, f"{place.name}.proj", heads.transpose(2, 3).reshape(K, B, T, widths[0]))

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        """(K, B, H, T, T) of scaled queries (K, B, H, T, D) and keys (K, B, G, T, D). H/G queries in a row share their
        keys, so they stand below each other in one product."""
        K, B, H, T, D = q.shape
        return torch.bmm(q.reshape(K * B * k.shape[2], -1, D), k.reshape(-1, T, D).mT).view(K, B, H, T, T)

    def mixed(self, weights: Tensor, v: Tensor) -> Tensor:
        """(K, B, H, T, D): values (K, B, G, T, D) by their weights (K, B, H, T, T)."""
        K, B, G, T, D = v.shape
        return torch.bmm(weights.reshape(K * B * G, -1, T), v.reshape(-1, T, D)).view(K, B, -1, T, D)


def weigh(logits: Tensor, place: Place) -> Tensor:
    """Attention weights (K, B, H, T, T) of logits, each lane by its own variant; in training some are dropped."""
    if logits.dtype == torch.bfloat16:
        logits = logits.float()  # 8 bits of a logit of 5 are an error of 2 % in its weight
    parts = []
    for lane in place.lanes:
        variant = lane.bound(place.layer, place.views, logits.shape[1])
        of_lane = logits if len(place.lanes) == 1 else logits[lane.rows]
        if place.observe is not None:
            place.observe(place.layer, variant, of_lane, place.mask)
        parts.append(variant.weights(of_lane, place.mask))
    weights = parts[0] if len(parts) == 1 else torch.cat(parts)
    return weights if place.dropout is None else place.dropout(weights, f"h.{place.layer}.weights")


def fused(q: Tensor, k: Tensor, v: Tensor, place: Place) -> Tensor | None:
    """What heads attend to (K, B, H, T, D), without their weights in memory; None where no lane's variant can."""
    if not (q.is_cuda and place.causal) or place.dropout is not None or place.observe is not None:
        return None
    if not all(lane.variant.fused for lane in place.lanes):
        return None
    k, v = (part.repeat_interleave(q.shape[2] // part.shape[2], dim=2) for part in (k, v))
    bound = [(lane.bound(place.layer, place.views, q.shape[1]), lane.rows) for lane in place.lanes]
    return torch.cat([variant.attend(q[rows], k[rows], v[rows]) for variant, rows in bound])
