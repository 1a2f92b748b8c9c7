"""A decoder-only GPT of K stacked members, read top to bottom. One member is K = 1.

Beside each part stands what declares its parameters (`…_parameters`), so that another kind of a part is two functions.

K members, B windows, T tokens, C width, H heads, D width of a head, V vocabulary. Members differ in their weights,
their scalars and, by lane, in their softmax variant; they share everything else, so each layer is one batched product
for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tunemax.gpt.config import Config, ModelConfig
from tunemax.gpt.layout import Parameter
from tunemax.gpt.softmax import Variant, from_column, variants

Views = Mapping[str, Tensor]
Drop = Callable[[Tensor, str], Tensor]
"""Dropout of (K, …) at a site of the model, by its name."""
Observer = Callable[[int, Variant, Tensor, Tensor], None]
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


def losses(
    views: Views,
    tokens: Tensor,
    model: ModelConfig,
    lanes: Sequence[Lane],
    dropout: Drop | None = None,
    observe: Observer | None = None,
) -> Tensor:
    """Cross entropy in nats of each target, (K, B, T). tokens: (K, B, T + 1); each but the first is a target."""
    inputs, targets = tokens[..., :-1], tokens[..., 1:]
    logits = forward(views, inputs, model, lanes, dropout, observe)  # (K, B, T, V)
    logits = logits.float() if logits.dtype == torch.bfloat16 else logits
    return CrossEntropy.apply(logits, targets)  # type: ignore[no-any-return,no-untyped-call]


def objective(
    views: Views, tokens: Tensor, config: Config, lanes: Sequence[Lane], dropout: Drop | None = None
) -> Tensor:
    """What training minimises of each member, (K,): its mean loss. tokens: (K, B, T + 1)."""
    return losses(views, tokens, config.model, lanes, dropout).mean(-1).mean(1)


class CrossEntropy(torch.autograd.Function):
    """−ln softmax(logits)[target]: (..., V) and (...) to (...). The gradient, softmax less one there, is one pass.

    torch's own makes a gradient of zeros and ones first and sums it up again, which compiled takes as long as the rest.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        log_weights = torch.log_softmax(logits, dim=-1)
        if ctx.needs_input_grad[0]:
            # e^log_weights would be the same; compiled, a softmax shares its exponential with the line above
            ctx.save_for_backward(torch.softmax(logits, dim=-1), targets)
        return -log_weights.gather(-1, targets[..., None]).squeeze(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        weights, targets = ctx.saved_tensors
        grad = grads[0][..., None]
        return (weights * grad).scatter_add(-1, targets[..., None], -grad), None


def parameters(model: ModelConfig, vocab_size: int) -> Iterator[Parameter]:
    """All that a member of this shape has, in the order in which `forward` uses it."""
    yield Parameter("wte", (vocab_size, model.n_embd), "input", shrink=1.0)
    if model.position == "learned":
        yield Parameter("wpe", (model.block_size, model.n_embd), "input", shrink=1.0)
    for layer in range(model.n_layer):
        name = f"h.{layer}"
        yield from norm_parameters(f"{name}.ln_1", model)
        yield from attention_parameters(layer, model)
        yield from norm_parameters(f"{name}.ln_2", model)
        yield from mlp_parameters(f"{name}.mlp", model)
    if model.norm_position == "pre":
        yield from norm_parameters("ln_f", model)
    if not model.tie_weights:
        yield Parameter("lm_head", (vocab_size, model.n_embd), "output", shrink=1.0)


def forward(
    views: Views,
    tokens: Tensor,
    model: ModelConfig,
    lanes: Sequence[Lane],
    dropout: Drop | None = None,
    observe: Observer | None = None,
) -> Tensor:
    """Logits of the next token, (K, B, T, V), from tokens (K, B, T). `dropout` None drops nothing."""
    pre = model.norm_position == "pre"

    def drop(x: Tensor, site: str) -> Tensor:
        return x if dropout is None else dropout(x, site)

    x = embed(views["wte"], tokens)  # (K, B, T, C)
    if model.position == "learned":
        x = x + views["wpe"][:, None, : tokens.shape[-1]]
    x = drop(x, "embed")
    places = torch.arange(tokens.shape[-1], dtype=torch.int32, device=x.device)  # half of int64 where it is compiled
    mask = places[:, None] >= places
    for layer in range(model.n_layer):
        name = f"h.{layer}"
        h = norm(views, f"{name}.ln_1", x) if pre else x
        h = drop(attention(views, h, mask, model, lanes, layer, dropout, observe), f"{name}.attn")
        x = x + h if pre else norm(views, f"{name}.ln_1", x + h)
        h = norm(views, f"{name}.ln_2", x) if pre else x
        h = drop(mlp(views, f"{name}.mlp", h), f"{name}.mlp")
        x = x + h if pre else norm(views, f"{name}.ln_2", x + h)
    if pre:
        x = norm(views, "ln_f", x)
    head = views["wte"] if model.tie_weights else views["lm_head"]  # (K, V, C)
    return torch.bmm(x.flatten(1, 2), head.mT).view(*tokens.shape, -1)


def residual_shrink(model: ModelConfig) -> float:
    """Of what is added to the residual stream 2 L times: initial weights so much smaller that depth does not widen it,
    as in GPT-2."""
    return math.sqrt(2 * model.n_layer)


def attention_parameters(layer: int, model: ModelConfig) -> Iterator[Parameter]:
    """Of all variants, so that their members look alike."""
    name, width = f"h.{layer}.attn", model.n_embd
    yield from linear_parameters(f"{name}.qkv", width, 3 * width, model.bias)
    yield from linear_parameters(f"{name}.proj", width, width, model.bias, shrink=residual_shrink(model))
    for variant in variants().values():
        for spec in variant.specs():
            if spec.declared.learnable:
                yield Parameter(_learnable(layer, spec.name), (model.n_head,), "scalar", field=spec.name)


def _learnable(layer: int, field: str) -> str:
    """The name of what a layer learns of a field."""
    return f"h.{layer}.{field}"


def attention(
    views: Views,
    x: Tensor,
    mask: Tensor,
    model: ModelConfig,
    lanes: Sequence[Lane],
    layer: int,
    dropout: Drop | None,
    observe: Observer | None,
) -> Tensor:
    """Self-attention, (K, B, T, C) to the same, where mask (T, T) lets it; each lane by its own variant."""
    K, B, T, C = x.shape
    H, D = model.n_head, model.head_width
    qkv = linear(views, f"h.{layer}.attn.qkv", x).view(K, B, T, 3, H, D).permute(3, 0, 1, 4, 2, 5)
    q, k, v = qkv[0], qkv[1], qkv[2]  # (K, B, H, T, D)
    if model.position == "rotary":
        q, k = rotate(q), rotate(k)
    bound = [lane.bound(layer, views, B) for lane in lanes]
    if x.is_cuda and dropout is None and observe is None and all(b.fused for b in bound):
        rows = [lane.rows for lane in lanes]
        heads = torch.cat([b.attend(q[own], k[own], v[own]) for b, own in zip(bound, rows, strict=True)])
    else:
        logits = torch.bmm((q * D**-0.5).reshape(-1, T, D), k.reshape(-1, T, D).mT).view(K, B, H, T, T)
        if logits.dtype == torch.bfloat16:
            logits = logits.float()  # 8 bits of a logit of 5 are an error of 2 % in its weight
        parts = []
        for lane, variant in zip(lanes, bound, strict=True):
            own = logits if len(lanes) == 1 else logits[lane.rows]
            if observe is not None:
                observe(layer, variant, own, mask)
            parts.append(variant.weights(own, mask))
        weights = parts[0] if len(parts) == 1 else torch.cat(parts)  # (K, B, H, T, T)
        if dropout is not None:
            weights = dropout(weights, f"h.{layer}.weights")
        heads = torch.bmm(weights.reshape(-1, T, T), v.reshape(-1, T, D)).view(K, B, H, T, D)
    return linear(views, f"h.{layer}.attn.proj", heads.transpose(2, 3).reshape(K, B, T, C))


def mlp_parameters(name: str, model: ModelConfig) -> Iterator[Parameter]:
    width = model.n_embd
    yield from linear_parameters(f"{name}.fc", width, 4 * width, model.bias)
    yield from linear_parameters(f"{name}.proj", 4 * width, width, model.bias, shrink=residual_shrink(model))


def mlp(views: Views, name: str, x: Tensor) -> Tensor:
    """Each token by itself, (K, B, T, C) to the same."""
    return linear(views, f"{name}.proj", F.gelu(linear(views, f"{name}.fc", x)))


def embed(table: Tensor, tokens: Tensor) -> Tensor:
    """Rows of each member's own table (K, V, C) for its tokens (K, B, T): (K, B, T, C)."""
    K, V, C = table.shape
    first = torch.arange(K, device=tokens.device).view(K, 1, 1) * V
    return F.embedding(tokens + first, table.reshape(K * V, C))


def linear_parameters(name: str, inputs: int, outputs: int, bias: bool, shrink: float = 1.0) -> Iterator[Parameter]:
    yield Parameter(f"{name}.weight", (inputs, outputs), "hidden", shrink=shrink)
    if bias:
        yield Parameter(f"{name}.bias", (outputs,), "vector")


def linear(views: Views, name: str, x: Tensor) -> Tensor:
    """x (K, B, T, in) times each member's own weight (K, in, out), plus its bias if it has one."""
    weight, bias = views[f"{name}.weight"], views.get(f"{name}.bias")
    rows = x.flatten(1, 2)  # (K, B·T, in)
    out = torch.bmm(rows, weight) if bias is None else torch.baddbmm(bias[:, None], rows, weight)
    return out.view(*x.shape[:-1], -1)


def norm_parameters(name: str, model: ModelConfig) -> Iterator[Parameter]:
    yield Parameter(f"{name}.weight", (model.n_embd,), "vector", fill=1.0)
    if model.bias:
        yield Parameter(f"{name}.bias", (model.n_embd,), "vector")


def norm(views: Views, name: str, x: Tensor) -> Tensor:
    """Layer norm of (K, B, T, C) with each member's own weight and bias."""
    out = F.layer_norm(x, x.shape[-1:]) * views[f"{name}.weight"][:, None, None]
    bias = views.get(f"{name}.bias")
    return out if bias is None else out + bias[:, None, None]


def rotate(x: Tensor) -> Tensor:
    """Rotary positions (RoFormer, arXiv 2104.09864, eq. 34) for queries or keys (..., T, D), D even."""
    T, D = x.shape[-2:]
    dtype = torch.promote_types(x.dtype, torch.float32)
    rates = 10000.0 ** (-torch.arange(0, D, 2, device=x.device, dtype=dtype) / D)
    angles = torch.outer(torch.arange(T, device=x.device, dtype=dtype), rates)  # (T, D/2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)
