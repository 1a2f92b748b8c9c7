"""The contract of an attention kind, and what all of them share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tunemax.gpt.cache import Cache
from tunemax.gpt.fields import Choices, Value, setting
from tunemax.gpt.lanes import Drop, Lane, Observer, Views, spread
from tunemax.gpt.lazy import torch
from tunemax.gpt.linear import linear, linear_parameters, scaled
from tunemax.gpt.norm.sizes import NORMALISED
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.parts import Part
from tunemax.gpt.positions import Positions
from tunemax.gpt.shape import Shape
from tunemax.gpt.softmax import variants

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where attention is computed, and with what: a layer of K members on B windows of T tokens, which stand behind
    others that are in a cache, if there is one. S are all of them."""

    layer: int
    shape: Shape
    views: Views
    positions: Positions
    mask: Tensor
    """(T, S), True where a query may attend to a key."""
    causal: bool
    """Whether that is all keys up to its own."""
    lanes: Sequence[Lane]
    dropout: Drop | None
    observe: Observer | None
    cache: Cache | None = None

    @property
    def before(self) -> int:
        """Tokens in the cache."""
        return self.mask.shape[1] - self.mask.shape[0]

    @property
    def name(self) -> str:
        """Before the names of the layer's parameters."""
        return f"h.{self.layer}.attn"


class Attention(Part, field="attention", noun="attention kind"):
    """What a token takes from those before it, through the members' softmax variants.

    H query heads of width D read G heads of keys and values. A kind says how many there are, and what meets what:
    `logits` and `mixed`. Most have one softmax a head; a kind with more of them says so by `softmaxes`.
    """

    head_dim: int = setting(
        0,
        "width of an attention head; 0 takes n_embd / n_head",
        ge=0,
        le=16384,
        search=Choices((8, 16, 32)),
        shared=True,
        neutral=0,
    )
    window: int = setting(
        65536,
        "keys that a query sees, its own and those before it; all if block_size is no more",
        ge=1,
        le=65536,
        search=Choices((16, 32, 64)),
        shared=True,
        neutral=65536,
    )
    qk_norm: Literal["none", "l2", "rms"] = setting(
        "none",
        "what queries and keys are divided by: l2, the length of each (a logit is then a cosine times "
        "log2(block_size² − block_size)), or rms, the root of their mean square",
        search=Choices(("none", "l2", "rms")),
        shared=True,
        neutral="none",
    )
    qk_norm_scale: bool = setting(
        False,
        "a learned factor of normalised queries and keys, one a head",
        when={"qk_norm": ("l2", "rms")},
        search=Choices((False, True)),
        shared=True,
        neutral=False,
    )
    v_norm: Literal["none", "l2", "rms"] = setting(
        "none",
        "what values are divided by: l2, the length of each, or rms, the root of their mean square",
        search=Choices(("none", "l2", "rms")),
        shared=True,
        neutral="none",
    )
    attention_sink: bool = setting(
        False,
        "a learned logit, one a head, of attending to nothing, beside those of keys",
        any_of=lambda: [condition for variant in variants().values() for condition in variant.divides_by_sum()],
        search=Choices((False, True)),
        shared=True,
        neutral=False,
    )

    def canonical(self, config: Any) -> Mapping[str, Value]:
        """A window that leaves nothing out is none, and a width of heads that they have anyway is not given."""
        shape, same = config.model, dict[str, Value]()
        if self.window >= shape.block_size:
            same["window"] = type(self).model_fields["window"].default
        if self.head_dim * shape.n_head == shape.n_embd:
            same["head_dim"] = 0
        return same

    # ---------------------------------------------------------------------------------------- what a kind may override

    def check(self, shape: Shape) -> None:
        """Raise ValueError for a model of which it cannot be a part."""
        if not self.head_dim and shape.n_embd % shape.n_head:
            raise ValueError(f"n_embd = {shape.n_embd} is not divisible by n_head = {shape.n_head}; change one of them")

    def kv_heads(self, shape: Shape) -> int:
        """G."""
        return shape.n_head

    def softmaxes(self, shape: Shape) -> Sequence[int] | None:
        """How many each head has, which share what it has learned; None for one."""
        return None

    def seen(self, distance: Tensor) -> Tensor | None:
        """Where a key may be seen that lies so many places (T, S) before its query; None if everywhere."""
        return distance < self.window if self.window < distance.shape[-1] else None

    def flops(self, shape: Shape) -> float:
        """Floating-point operations on one token in one layer, forward, beside those of linear layers: of products of
        queries and keys, and of weights and values. Masked ones count."""
        return 4.0 * shape.n_head * self.head_width(shape) * shape.block_size

    def logits(self, q: Tensor, k: Tensor, shape: Shape) -> Tensor:
        """(K, B, H, T, S) of scaled queries (K, B, H, T, D) and keys (K, B, G, S, D). H/G queries in a row share their
        keys, so they stand below each other in one product."""
        K, B, H, T, D = q.shape
        S = k.shape[-2]
        return torch.bmm(q.reshape(K * B * k.shape[2], -1, D), k.reshape(-1, S, D).mT).reshape(K, B, H, T, S)

    def mixed(self, weights: Tensor, v: Tensor, shape: Shape) -> Tensor:
        """(K, B, H, T, D): values (K, B, G, S, D) by their weights (K, B, H, T, S)."""
        K, B, G, S, D = v.shape
        T = weights.shape[-2]
        return torch.bmm(weights.reshape(K * B * G, -1, S), v.reshape(-1, S, D)).reshape(K, B, -1, T, D)

    # --------------------------------------------------------------------------------------------- what all kinds share

    def head_width(self, shape: Shape) -> int:
        """D."""
        return self.head_dim or shape.n_embd // shape.n_head

    def query_scale(self, shape: Shape) -> float:
        """What queries are multiplied with, beside 1 / √D.

        With muP logits are q · k √D_base / D, since queries and keys learn to agree; D_base is the width of a head in
        the model that was tuned. Cosines are what they are at every width.
        """
        if shape.parametrisation == "standard" or self.qk_norm == "l2":
            return 1.0
        return math.sqrt(self.base_head_width(shape) / self.head_width(shape))

    def base_head_width(self, shape: Shape) -> float:
        """D_base."""
        return shape.mup_base_head_width or self.head_dim or self.head_width(shape) / shape.width_multiple

    def _widths(self, shape: Shape) -> list[int]:
        """Of all queries, all keys and all values side by side."""
        queries, keys = (heads * self.head_width(shape) for heads in (shape.n_head, self.kv_heads(shape)))
        return [queries, keys, keys]

    def weights(self, shape: Shape) -> int:
        """Numbers in the matrices of one layer."""
        return sum(p.size for p in self.parameters("", shape) if p.role == "hidden")

    def parameters(self, name: str, shape: Shape) -> Iterator[Parameter]:
        """Of the layer whose parameters' names begin like this."""
        widths, heads = self._widths(shape), (shape.n_head,)
        yield from linear_parameters(f"{name}.qkv", shape.n_embd, sum(widths), shape.bias, blocks=tuple(widths))
        yield from linear_parameters(f"{name}.proj", widths[0], shape.n_embd, shape.bias, shrink=shape.residual_shrink)
        if self.qk_norm_scale:
            yield Parameter(f"{name}.qk_norm_scale", heads, "vector", fill=1.0)
        if self.attention_sink:
            yield Parameter(f"{name}.sink", heads, "vector")

    def __call__(self, x: Tensor, place: Place) -> Tensor:
        """(K, B, T, C) to the same."""
        K, B, T, _ = x.shape
        D, widths, counts = self.head_width(place.shape), self._widths(place.shape), self.softmaxes(place.shape)
        qkv = linear(place.views, f"{place.name}.qkv", x)
        q, k, v = (part.view(K, B, T, -1, D).transpose(2, 3) for part in torch.split(qkv, widths, dim=-1))
        q, k, v = self._normalised(q, k, v, place)  # (K, B, H, T, D), (K, B, G, T, D) twice
        q, k = (place.positions.turned(part, place.before, neighbours=counts is not None) for part in (q, k))
        if place.cache is not None:
            k, v = place.cache.extended(place.layer, k, v)
        q = scaled(q, self.query_scale(place.shape))
        biases = place.positions.biases(place.shape.n_head, place.before, T, q)
        plain = counts is None and biases is None and not self.attention_sink
        out = fused(q, k, v, place) if plain else None
        if out is None:
            logits = self.logits(q * D**-0.5, k, place.shape)
            if logits.dtype == torch.bfloat16:
                logits = logits.float()  # 8 bits of a logit of 5 are an error of 2 % in its weight
            if biases is not None:
                logits = logits + spread(biases, counts, 0)
            sink = self._learned("sink", place, B) if self.attention_sink else None
            out = self.mixed(weigh(logits, place, counts, sink), v, place.shape)
        return linear(place.views, f"{place.name}.proj", out.transpose(2, 3).reshape(K, B, T, widths[0]))

    def _normalised(self, q: Tensor, k: Tensor, v: Tensor, place: Place) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values over their sizes; what products of the first two are multiplied by is on queries."""
        q, k = NORMALISED[self.qk_norm](q), NORMALISED[self.qk_norm](k)
        if self.qk_norm == "l2":  # Henry et al., arXiv 2010.04245, section 3; `logits` will divide by the root
            T = max(place.shape.block_size, 2)
            q = q * (q.shape[-1] ** 0.5 * math.log2(T * (T - 1)))
        if self.qk_norm_scale:
            q = q * self._learned("qk_norm_scale", place, q.shape[1])
        return q, k, NORMALISED[self.v_norm](v)

    def _learned(self, name: str, place: Place, windows: int) -> Tensor:
        """One number a head, (K, B, H, 1, 1). Spread over windows, as in `Lane.bound`."""
        return place.views[f"{place.name}.{name}"][:, None, :, None, None].expand(-1, windows, -1, 1, 1)


def weigh(logits: Tensor, place: Place, counts: Sequence[int] | None, sink: Tensor | None) -> Tensor:
    """Attention weights of logits (K, B, …, T, S), each lane by its own variant; in training some are dropped.

    counts: how many softmaxes each head has; None for one. sink: the logit of no key, (K, B, H, 1, 1), if any.
    """
    mask = place.mask
    if sink is not None:
        T = logits.shape[-2]
        logits = torch.cat((logits, spread(sink, counts, 2).expand(-1, -1, -1, T, -1)), dim=-1)
        mask = torch.cat((mask, mask.new_ones(T, 1)), dim=-1)
    parts = []
    for lane in place.lanes:
        of_lane = logits if len(place.lanes) == 1 else logits[lane.rows]
        if place.observe is not None:
            variant = lane.bound(place.layer, place.views, logits.shape[1], counts)
            place.observe(place.layer, variant, of_lane, mask)
        parts.append(lane.weights(place.layer, place.views, of_lane, mask, counts))
    weights = parts[0] if len(parts) == 1 else torch.cat(parts)
    if sink is not None:
        weights = weights[..., :-1]
    return weights if place.dropout is None else place.dropout(weights, f"h.{place.layer}.weights")


def fused(q: Tensor, k: Tensor, v: Tensor, place: Place) -> Tensor | None:
    """What heads attend to (K, B, H, T, D), without their weights in memory; None where no lane's variant can."""
    if not (q.is_cuda and place.causal) or place.before or place.dropout is not None or place.observe is not None:
        return None
    if not all(lane.variant.fused for lane in place.lanes):
        return None
    k, v = (part.repeat_interleave(q.shape[2] // part.shape[2], dim=2) for part in (k, v))
    bound = [(lane.bound(place.layer, place.views, q.shape[1]), lane.rows) for lane in place.lanes]
    return torch.cat([variant.attend(q[rows], k[rows], v[rows]) for variant, rows in bound])
