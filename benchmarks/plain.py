"""What people do today, to compare with: one GPT of torch.nn modules, trained by the loop that anybody would write
(nanoGPT's)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemax.gpt.config import Config, ModelConfig
from tunemax.gpt.data import Corpus
from tunemax.gpt.random import generator
from tunemax.gpt.schedule import lr_factor


class Attention(nn.Module):
    def __init__(self, m: ModelConfig) -> None:
        super().__init__()
        self.heads = m.n_head
        self.qkv = nn.Linear(m.n_embd, 3 * m.n_embd, bias=m.bias)
        self.proj = nn.Linear(m.n_embd, m.n_embd, bias=m.bias)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.heads, C // self.heads).transpose(1, 2) for part in self.qkv(x).split(C, dim=-1)
        )
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.proj(heads.transpose(1, 2).reshape(B, T, C))
        return out


class Block(nn.Module):
    def __init__(self, m: ModelConfig) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = (nn.LayerNorm(m.n_embd, bias=m.bias) for _ in range(2))
        self.attn = Attention(m)
        self.mlp = nn.Sequential(
            nn.Linear(m.n_embd, 4 * m.n_embd, bias=m.bias), nn.GELU(), nn.Linear(4 * m.n_embd, m.n_embd, bias=m.bias)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Gpt(nn.Module):
    """A pre-LN GPT with learned positions and tied embedding: the model that a default `ModelConfig` stands for."""

    def __init__(self, m: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab_size, m.n_embd)
        self.wpe = nn.Embedding(m.block_size, m.n_embd)
        self.h = nn.Sequential(*(Block(m) for _ in range(m.n_layer)))
        self.ln_f = nn.LayerNorm(m.n_embd, bias=m.bias)
        self.lm_head = nn.Linear(m.n_embd, vocab_size, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy in nats of targets (B, T) after tokens (B, T)."""
        x = self.h(self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1])))
        return F.cross_entropy(self.lm_head(self.ln_f(x)).flatten(0, 1), targets.flatten())


class PlainLoop:
    """One training on the CPU: fused AdamW, clipping by norm, SDPA, its loss read once a call of `step`.

    Its numbers are not those of a `Trainer`'s member (other initial weights and batches); its work is.
    """

    def __init__(self, config: Config, corpus: Corpus) -> None:
        self.config, self.corpus = config, corpus
        self.draw = generator(config.train.seed, "plain")
        self.iteration = 0
        self.train_loss = float("nan")
        self.model = Gpt(config.model, corpus.manifest.vocab_size)
        for name, p in self.model.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02, generator=generator(config.train.seed, "plain", name))
        numbers = config.flat()
        decayed = [p for p in self.model.parameters() if p.dim() == 2]
        rest = [p for p in self.model.parameters() if p.dim() != 2]
        groups = [{"params": decayed, "weight_decay": config.train.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(
            groups, lr=config.train.learning_rate, betas=(numbers["beta1"], numbers["beta2"]), fused=True
        )

    def step(self, n: int = 1) -> None:
        """Train for n iterations."""
        train = self.config.train
        for _ in range(n):
            for group in self.optimizer.param_groups:
                group["lr"] = train.learning_rate * lr_factor(train, self.iteration)
            loss = self.model(*self._batch())
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), train.grad_clip)
            self.optimizer.step()
            self.iteration += 1
        self.train_loss = loss.item()

    @torch.no_grad()
    def evaluate(self, windows: np.ndarray[Any, Any]) -> float:
        """Mean loss in nats a token of windows (B, T + 1)."""
        parts = torch.split(torch.from_numpy(windows), 64)
        return float(sum(self.model(part[:, :-1], part[:, 1:]).item() * len(part) for part in parts)) / len(windows)

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets, each (B, T)."""
        T, text = self.config.model.block_size, self.corpus.train
        starts = torch.randint(len(text) - T, (self.config.train.batch_size,), generator=self.draw).tolist()
        windows = torch.stack([torch.from_numpy(text[start : start + T + 1].astype("int64")) for start in starts])
        return windows[:, :-1], windows[:, 1:]
