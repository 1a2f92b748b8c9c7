"""Where each parameter of a member lies in its row of `theta`, and its value at the start."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from tunemax.gpt.config import Config, ModelConfig
from tunemax.gpt.random import generator
from tunemax.gpt.softmax import to_column, variants

Kind = Literal["matrix", "vector", "learnable"]
"""matrix: has weight decay. vector: biases and norms, no decay. learnable: a variant's own scalars, no decay, own
learning rate."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Parameter:
    """One named tensor of a member. std 0 with `fill` is a constant; learnables start where their config says."""

    name: str
    shape: tuple[int, ...]
    kind: Kind
    std: float = 0.0
    fill: float = 0.0

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Layout:
    """The columns of `theta` (K, P) for one shape of model: matrices, then vectors, then learnables.

    Every row has one column a head for every learnable of every variant and layer, whichever variant the member has:
    rows of one bucket look alike. A learnable shared by a layer uses the first of its columns; the columns that a
    member does not use stay zero, have zero gradient, and are left out of `count`.
    """

    def __init__(self, model: ModelConfig, vocab_size: int) -> None:
        found = sorted(_parameters(model, vocab_size), key=lambda p: KINDS.index(p.kind))
        self.parameters = tuple(found)
        self.size = sum(p.size for p in found)
        self.n_layer = model.n_layer

    @cached_property
    def spans(self) -> dict[Kind, slice]:
        """The columns of each kind."""
        spans: dict[Kind, slice] = {}
        start = 0
        for kind in KINDS:
            stop = start + sum(p.size for p in self.parameters if p.kind == kind)
            spans[kind] = slice(start, stop)
            start = stop
        return spans

    @cached_property
    def _sizes(self) -> list[int]:
        return [p.size for p in self.parameters]

    def split(self, rows: Tensor) -> dict[str, Tensor]:
        """Views by name, (K, *shape), of rows (K, P).

        One split: slicing name by name makes backward ten times slower.
        """
        parts = torch.split(rows, self._sizes, dim=-1)
        return {p.name: part.view(*part.shape[:-1], *p.shape) for p, part in zip(self.parameters, parts, strict=True)}

    def start(self, config: Config) -> Tensor:
        """The initial row (P,) of a member, float32.

        Each parameter is drawn from (seed, its name), so members of different variants share what they have in common.
        """
        row = torch.zeros(self.size)
        views = self.split(row)
        for p in self.parameters:
            if p.std:
                views[p.name].normal_(0.0, p.std, generator=generator(config.train.seed, "init", p.name))
            else:
                views[p.name].fill_(p.fill)
        softmax = config.softmax
        for field, form in softmax.learned().items():
            self.learnable(row[self.spans["learnable"]], config, field).fill_(to_column(getattr(softmax, field), form))
        return row

    def learnable(self, columns: Tensor, config: Config, field: str) -> Tensor:
        """What a member's variant uses for one of its learnables, (..., L, H or 1), of the learnable columns (...,) of
        rows; a view."""
        names = [p.name for p in self.parameters if p.kind == "learnable"]
        place = names.index(learnable_name(0, config.softmax.name, field))
        by_layer = columns.view(*columns.shape[:-1], self.n_layer, -1, config.model.n_head)  # (..., L, fields, H)
        return by_layer[..., place, : config.model.n_head if config.softmax.per_head else 1]

    def count(self, config: Config) -> int:
        """The number of parameters that a member of this configuration trains."""
        plain: int = self.spans["learnable"].start
        softmax = config.softmax
        return plain + self.n_layer * len(softmax.learned()) * (config.model.n_head if softmax.per_head else 1)


def operations(model: ModelConfig, vocab_size: int, batch_size: int) -> float:
    """Floating-point operations of the matrix products in one iteration of a member: forward, and twice as many
    backward."""
    layers, width, tokens = model.n_layer, model.n_embd, model.block_size
    of_token = 2 * (12 * layers * width**2 + vocab_size * width) + 4 * layers * tokens * width
    return float(3 * of_token * tokens * batch_size)


def learnable_name(layer: int, variant: str, field: str) -> str:
    return f"h.{layer}.{variant}.{field}"


def _parameters(model: ModelConfig, vocab_size: int) -> Iterator[Parameter]:
    """GPT-2's shapes and initial values; linear weights are (in, out)."""
    width, std, residual_std = model.n_embd, 0.02, 0.02 / math.sqrt(2 * model.n_layer)

    def linear(name: str, inputs: int, outputs: int, std: float) -> Iterator[Parameter]:
        yield Parameter(f"{name}.weight", (inputs, outputs), "matrix", std=std)
        if model.bias:
            yield Parameter(f"{name}.bias", (outputs,), "vector")

    def norm(name: str) -> Iterator[Parameter]:
        yield Parameter(f"{name}.weight", (width,), "vector", fill=1.0)
        if model.bias:
            yield Parameter(f"{name}.bias", (width,), "vector")

    yield Parameter("wte", (vocab_size, width), "matrix", std=std)
    if model.position == "learned":
        yield Parameter("wpe", (model.block_size, width), "matrix", std=std)
    for layer in range(model.n_layer):
        yield from norm(f"h.{layer}.ln_1")
        yield from linear(f"h.{layer}.attn.qkv", width, 3 * width, std)
        yield from linear(f"h.{layer}.attn.proj", width, width, residual_std)
        yield from norm(f"h.{layer}.ln_2")
        yield from linear(f"h.{layer}.mlp.fc", width, 4 * width, std)
        yield from linear(f"h.{layer}.mlp.proj", 4 * width, width, residual_std)
        for variant in variants().values():
            for spec in variant.specs():
                if spec.declared.learnable:
                    yield Parameter(f"h.{layer}.{spec.name}", (model.n_head,), "learnable")
    if model.norm_position == "pre":
        yield from norm("ln_f")
    if not model.tie_weights:
        yield Parameter("lm_head", (vocab_size, width), "matrix", std=std)
