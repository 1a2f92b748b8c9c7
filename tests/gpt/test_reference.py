"""The stacked trainer against a training loop as anybody would write it: torch.nn modules, torch.optim.AdamW, one model
at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.trainer import Trainer

STEPS = 20


class Attention(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        width, self.heads = c.model.n_embd, c.model.n_head
        self.qkv = nn.Linear(width, 3 * width, bias=c.model.bias)
        self.proj = nn.Linear(width, width, bias=c.model.bias)
        self.rotary = c.model.position == "rotary"
        self.constantmax = c.softmax.name == "constantmax"
        if self.constantmax:
            shape = (self.heads if c.softmax.per_head else 1, 1, 1)
            self.beta = nn.Parameter(torch.full(shape, float(c.softmax.beta)))  # type: ignore[attr-defined]
            self.gamma = nn.Parameter(torch.full(shape, math.log(c.softmax.gamma)))  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        size = width // self.heads
        q, k, v = (
            part.view(batch, time, self.heads, size).transpose(1, 2) for part in self.qkv(x).split(width, dim=-1)
        )
        if self.rotary:
            q, k = turn(q), turn(k)
        logits = q @ k.transpose(-2, -1) / math.sqrt(size)
        later = torch.triu(torch.ones(time, time, dtype=torch.bool), diagonal=1)
        if self.constantmax:
            weights = (torch.exp(logits - self.beta) / torch.exp(self.gamma)).masked_fill(later, 0.0)
        else:
            weights = F.softmax(logits.masked_fill(later, -torch.inf), dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, time, width))


def turn(x: Tensor) -> Tensor:
    """Rotary positions as products of complex numbers; real and imaginary parts are the two halves of a head."""
    time, size = x.shape[-2:]
    angles = torch.arange(time)[:, None].double() / 10000.0 ** (2 * torch.arange(size // 2).double() / size)
    turned = torch.complex(x[..., : size // 2], x[..., size // 2 :]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((turned.real, turned.imag), dim=-1)


class Block(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        width = c.model.n_embd
        self.pre = c.model.norm_position == "pre"
        self.attn = Attention(c)
        self.ln_1, self.ln_2 = (nn.LayerNorm(width, bias=c.model.bias) for _ in range(2))
        self.mlp = nn.ModuleDict(
            {
                "fc": nn.Linear(width, 4 * width, bias=c.model.bias),
                "proj": nn.Linear(4 * width, width, bias=c.model.bias),
            }
        )

    def feed(self, x: Tensor) -> Tensor:
        result: Tensor = self.mlp["proj"](F.gelu(self.mlp["fc"](x)))
        return result

    def forward(self, x: Tensor) -> Tensor:
        if self.pre:
            x = x + self.attn(self.ln_1(x))
            return x + self.feed(self.ln_2(x))
        x = self.ln_1(x + self.attn(x))
        result: Tensor = self.ln_2(x + self.feed(x))
        return result


class Gpt(nn.Module):
    def __init__(self, c: Config, vocabulary: int) -> None:
        super().__init__()
        m = c.model
        self.wte = nn.Embedding(vocabulary, m.n_embd)
        self.wpe = nn.Embedding(m.block_size, m.n_embd) if m.position == "learned" else None
        self.h = nn.ModuleList(Block(c) for _ in range(m.n_layer))
        self.ln_f = nn.LayerNorm(m.n_embd, bias=m.bias) if m.norm_position == "pre" else nn.Identity()
        self.lm_head = nn.Linear(m.n_embd, vocabulary, bias=False)
        if m.tie_weights:
            self.lm_head.weight = self.wte.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens)
        if self.wpe is not None:
            x = x + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        logits: Tensor = self.lm_head(self.ln_f(x))
        return logits


def load(model: Gpt, weights: Mapping[str, Tensor], variant: str) -> None:
    """Copy a member's weights; ours are (in, out), those of nn.Linear (out, in)."""
    state = model.state_dict()
    if model.lm_head.weight is model.wte.weight:
        del state["lm_head.weight"]
    for name, there in state.items():
        ours = {"wte.weight": "wte", "wpe.weight": "wpe", "lm_head.weight": "lm_head"}.get(name, name)
        if name.endswith(("beta", "gamma")):
            ours = name.replace("attn", variant)
        tensor = weights[f"theta/{ours}"]
        there.copy_((tensor.T if ".weight" in ours and tensor.dim() == 2 else tensor).reshape(there.shape))
    assert len(state) == sum(name.startswith("theta/") for name in weights)


def rate(c: Config, i: int) -> float:
    """Linear warm-up from 1/warmup to the peak, then half a cosine, or a line, that ends at the last iteration."""
    peak, floor = c.train.learning_rate, c.train.learning_rate * c.train.min_lr_ratio
    warmup = round(c.train.max_iters * c.train.warmup_fraction)
    if i < warmup:
        return peak * (i + 1) / warmup
    share = (i - warmup) / (c.train.max_iters - 1 - warmup)
    left = (1 + math.cos(math.pi * share)) / 2 if c.train.schedule == "cosine" else 1 - share
    return floor + (peak - floor) * left


def reference_losses(c: Config, corpus: Corpus, weights: Mapping[str, Tensor]) -> tuple[list[float], float, int]:
    """Training losses of STEPS steps, the loss on fixed windows after them, and the number of parameters."""
    model = Gpt(c, corpus.manifest.vocab_size).double()
    load(model, weights, c.softmax.name)
    own = [p for name, p in model.named_parameters() if name.endswith(("beta", "gamma"))]
    rest = [p for name, p in model.named_parameters() if not name.endswith(("beta", "gamma"))]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.dim() == 2], "weight_decay": c.train.weight_decay, "ratio": 1.0},
        {"params": [p for p in rest if p.dim() == 1], "weight_decay": 0.0, "ratio": 1.0},
        {"params": own, "weight_decay": 0.0, "ratio": c.train.variant_lr_ratio},
    ]
    optimizer = torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=1.0, betas=(c.flat()["beta1"], c.flat()["beta2"]), eps=1e-8
    )
    found = []
    for i in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(c, i) * group["ratio"]
        offsets = corpus.batch_offsets(c.train.seed, i, c.train.batch_size, c.model.block_size)
        windows = torch.from_numpy(corpus.at(offsets, c.model.block_size))
        inputs, targets = windows[:, :-1], windows[:, 1:]
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        if c.train.grad_clip:
            nn.utils.clip_grad_norm_(model.parameters(), c.train.grad_clip)
        optimizer.step()
        found.append(loss.item())
    T = c.model.block_size
    targets = corpus.targets("tuning", c.train.eval_tokens, T, look=c.train.max_iters > STEPS)
    windows = torch.from_numpy(corpus.windows_at("tuning", targets.offsets, T))
    with torch.no_grad():
        losses = F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten(), reduction="none")
    final = losses[targets.counted(T).flatten() > 0].mean().item()
    return found, final, sum(p.numel() for p in model.parameters())


SHAPES: dict[str, dict[str, Any]] = {
    "pre, learned positions, tied": {},
    "post, rotary, untied, biases": {"norm_position": "post", "position": "rotary", "tie_weights": False, "bias": True},
}
MEMBERS: list[dict[str, Any]] = [
    {"softmax_variant": "softmax", "learning_rate": 3e-3, "schedule": "cosine"},
    {"softmax_variant": "constantmax", "learning_rate": 1e-2, "weight_decay": 0.5, "variant_lr_ratio": 30, "seed": 2},
    {"softmax_variant": "softmax", "seed": 3, "beta1": 0.8, "beta2": 0.95, "grad_clip": 0.05, "warmup_fraction": 0.0},
    {
        "schedule": "cosine",
        "softmax_variant": "constantmax",
        "constantmax__sharing": "head",
        "constantmax__gamma": 7,
        "grad_clip": 0,
        "max_iters": 25,
    },
]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_members_of_a_stack_train_as_torch_modules_and_optimizers_do(
    shape: dict[str, Any], corpus: Corpus, small: Callable[..., Config]
) -> None:
    configs = [small(**shape, **member) for member in MEMBERS]
    trainer = Trainer(configs[0], corpus, dtype=torch.float64)
    members = [trainer.add(config) for config in configs]
    starts = [trainer.snapshot(member).tensors for member in members]
    trained: list[list[float]] = [[] for _ in members]
    for _ in range(STEPS):
        trainer.step()
        for losses, member in zip(trained, members, strict=True):
            losses.append(member.train_loss)
    final = trainer.evaluate()
    for config, member, start, losses in zip(configs, members, starts, trained, strict=True):
        expected, expected_final, count = reference_losses(config, corpus, start)
        assert losses == pytest.approx(expected, abs=1e-9, rel=0)
        assert final[member] == pytest.approx(expected_final, abs=1e-9, rel=0)
        tensors = trainer.snapshot(member).tensors
        assert sum(values.numel() for name, values in tensors.items() if name.startswith("theta/")) == count
        assert losses[-1] < losses[0] - 0.2
