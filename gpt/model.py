"""A decoder-only GPT of K stacked members, read top to bottom. One member is K = 1.

Its parts (attention, norm, MLP, positions) are classes in rooms of their own; each declares its parameters and computes
with them.

K members, B windows, T tokens, C width, H heads, D width of a head, V vocabulary. Members differ in their weights,
their scalars and, by lane, in their softmax variant; they share everything else, so each layer is one batched product
for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tunemax.gpt.attention import Place
from tunemax.gpt.cache import Cache
from tunemax.gpt.config import Config
from tunemax.gpt.lanes import Drop, Lane, Observer, Views, amounts, variant_parameters
from tunemax.gpt.linear import scaled
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.softmax import Variant


def losses(
    views: Views,
    tokens: Tensor,
    config: Config,
    lanes: Sequence[Lane],
    dropout: Drop | None = None,
    observe: Observer | None = None,
) -> Tensor:
    """Cross entropy in nats of each target, (K, B, T). tokens: (K, B, T + 1); each but the first is a target."""
    logits, targets = predicted(views, tokens, config, lanes, dropout, observe)
    return CrossEntropy.apply(logits, targets)  # type: ignore[no-any-return,no-untyped-call]


def objective(
    views: Views, tokens: Tensor, config: Config, lanes: Sequence[Lane], dropout: Drop | None = None
) -> tuple[Tensor, Tensor]:
    """The mean loss of each member, (K,), and what training minimises: that, and z_loss (ln Z)² (PaLM, arXiv
    2204.02311, section 5). tokens: (K, B, T + 1)."""
    logits, targets = predicted(views, tokens, config, lanes, dropout)
    of_tokens = CrossEntropy.apply(logits, targets)  # type: ignore[no-untyped-call]
    loss = of_tokens.mean(-1).mean(1)
    z_loss = amounts(lanes, "z_loss")
    if z_loss is None:
        return loss, loss
    log_z = of_tokens + logits.gather(-1, targets[..., None]).squeeze(-1)
    return loss, loss + z_loss * log_z.square().mean(-1).mean(1)


def predicted(
    views: Views,
    tokens: Tensor,
    config: Config,
    lanes: Sequence[Lane],
    dropout: Drop | None = None,
    observe: Observer | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits (K, B, T, V), in fp32 at least, and the targets (K, B, T) that they are of."""
    inputs, targets = tokens[..., :-1], tokens[..., 1:]
    logits = forward(views, inputs, config, lanes, dropout, observe)
    return logits.float() if logits.dtype == torch.bfloat16 else logits, targets


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


def parameters(config: Config, vocab_size: int) -> Iterator[Parameter]:
    """All that a member of this shape has, in the order in which `forward` uses it."""
    model, norm = config.model, config.norm
    yield Parameter("wte", (vocab_size, model.n_embd), "input", shrink=1.0)
    yield from config.positions.parameters(model)
    for layer in range(model.n_layer):
        name = f"h.{layer}"
        yield from norm.parameters(f"{name}.ln_1", model)
        yield from config.attention.parameters(f"{name}.attn", model)
        yield from variant_parameters(layer, model.n_head)
        yield from norm.parameters(f"{name}.ln_2", model)
        yield from config.mlp.parameters(f"{name}.mlp", model, config.attention.weights(model))
        if model.norm_position == "peri":
            yield from norm.parameters(f"{name}.ln_1_out", model)
            yield from norm.parameters(f"{name}.ln_2_out", model)
    if model.norm_position != "post":
        yield from norm.parameters("ln_f", model)
    if not model.tie_weights:
        yield Parameter("lm_head", (vocab_size, model.n_embd), "output", shrink=1.0)


def forward(
    views: Views,
    tokens: Tensor,
    config: Config,
    lanes: Sequence[Lane],
    dropout: Drop | None = None,
    observe: Observer | None = None,
    cache: Cache | None = None,
) -> Tensor:
    """Logits of the next token, (K, B, T, V), from tokens (K, B, T). `dropout` None drops nothing.

    config: of any member; what they may differ in stands in `views` and `lanes`. cache: of the tokens before these, to
    which these are added.
    """
    model, before = config.model, cache.length if cache else 0

    def drop(x: Tensor, site: str) -> Tensor:
        return x if dropout is None else dropout(x, site)

    def norm(x: Tensor, name: str) -> Tensor:
        return config.norm(views, name, x)

    def residual(x: Tensor, sublayer: Callable[[Tensor], Tensor], site: str, ln: str) -> Tensor:
        """x and what a sublayer makes of it, with norms where they belong (Kim et al., arXiv 2502.02732, figure 1)."""
        if model.norm_position == "post":
            return norm(x + drop(sublayer(x), site), ln)
        h = sublayer(norm(x, ln))
        return x + drop(h if model.norm_position == "pre" else norm(h, f"{ln}_out"), site)

    x = scaled(config.positions.embedded(views, embed(views["wte"], tokens), before), model.input_scale)  # (K, B, T, C)
    x = drop(x, "embed")
    # int32 is half of int64 where it is compiled
    places = torch.arange(before + tokens.shape[-1], dtype=torch.int32, device=x.device)
    own = places[before:, None]
    mask = own >= places
    if (seen := config.attention.seen(own - places)) is not None:
        mask = mask & seen
    for layer in range(model.n_layer):
        name = f"h.{layer}"
        place = Place(layer, model, views, config.positions, mask, seen is None, lanes, dropout, observe, cache)
        x = residual(x, partial(config.attention, place=place), f"{name}.attn", f"{name}.ln_1")
        x = residual(x, partial(config.mlp, views, f"{name}.mlp"), f"{name}.mlp", f"{name}.ln_2")
    if cache is not None:
        cache.length += tokens.shape[-1]
    if model.norm_position != "post":
        x = norm(x, "ln_f")
    head = views["wte"] if model.tie_weights else views["lm_head"]  # (K, V, C)
    logits = torch.bmm(scaled(x, model.output_scale).flatten(1, 2), head.mT).view(*tokens.shape, -1)
    cap = amounts(lanes, "logit_softcap")
    return distribution(config.output, logits if cap is None else capped(logits, cap), lanes)


def distribution(output: Variant, logits: Tensor, lanes: Sequence[Lane]) -> Tensor:
    """Logits (K, B, T, V) of the softmax that a variant is with each member's own numbers: all that comes after, the
    loss and samples, takes a softmax."""
    if output.name == "softmax":
        return logits
    values = {spec.name: amounts(lanes, spec.name) for spec in output.output_specs() if spec.is_scalar}
    own = {name.rpartition(".")[2]: value[:, None, None, None] for name, value in values.items() if value is not None}
    return output.bind(own).scores(logits)


def capped(logits: Tensor, cap: Tensor) -> Tensor:
    """c·tanh(x / c) of logits (K, B, T, V) and each member's own c, (K,)."""
    cap = cap[:, None, None, None]
    return torch.tanh(logits / cap) * cap


def embed(table: Tensor, tokens: Tensor) -> Tensor:
    """Rows of each member's own table (K, V, C) for its tokens (K, B, T): (K, B, T, C)."""
    K, V, C = table.shape
    first = torch.arange(K, device=tokens.device).view(K, 1, 1) * V
    return F.embedding(tokens + first, table.reshape(K * V, C))
