"""The fields of a training: on what, for how long, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import pydantic

from tunemax.gpt.evaluation import SPAN
from tunemax.gpt.fields import Choices, Control, Range, Value, setting, shown
from tunemax.gpt.optimizer import Optimizer
from tunemax.gpt.softmax import variants
from tunemax.gpt.text_config import Text
from tunemax.gpt.tokenizers import AUTO

Schedule = Literal["cosine", "constant", "linear", "wsd"]


def by_optimizer(name: str, help: str) -> Callable[[], str]:
    """The help of a field, with the optimizers that have another default for it."""

    def said() -> str:
        kinds = Optimizer.kinds().values()
        others = [f"{shown(kind.defaults[name])} with {kind.name}" for kind in kinds if name in kind.defaults]
        return f"{help}; by default {', '.join(others)}" if others else help

    return said


class TrainConfig(Text):
    """What is trained on, for how long, and how."""

    data_start: float = setting(
        0.0, "where in the training text the part to train on begins, as a share of it", ge=0, lt=1, neutral=0.0
    )
    data_end: float = setting(1.0, "where that part ends, as a share of the text", gt=0, le=1, neutral=1.0)
    seed: int = setting(1, "initial weights, data order, dropout masks", ge=0, le=2**53)
    init_std: float = setting(
        0.0,
        "standard deviation of the initial weights; 0 takes 0.8 / √n_embd. Of what is added to the residual stream it "
        "is divided by √(2 n_layer)",
        ge=0,
        le=10,
        search=Range(0.02, 0.3, log=True),
        neutral=0.02,
    )
    max_iters: int = setting(1000, "the horizon: iterations to train", ge=1)
    batch_size: int = setting(12, "windows a batch", ge=1, search=Choices((4, 8, 16, 32)), shared=True)
    optimizer: str = setting(
        "adamw",
        "how gradients become updates",
        search=lambda: Choices(tuple(Optimizer.kinds())),
        shared=True,
        neutral="adamw",
    )
    learning_rate: float = setting(
        5e-3,
        by_optimizer("learning_rate", "peak learning rate"),
        gt=0,
        le=10,
        search=Range(1e-3, 3e-2, log=True),
        control=Control("multiplicative", 1e-6, 1.0),
    )
    variant_lr_ratio: float = setting(
        1.0,
        "learning rate of a variant's own scalars, relative to learning_rate",
        ge=0,
        le=1e4,
        search=Range(0.1, 100, log=True),
        any_of=lambda: [condition for variant in variants().values() for condition in variant.learns()],
        control=Control("multiplicative", 1e-3, 1e4),
    )
    input_lr_ratio: float = setting(
        1.0,
        "learning rate of embedding tables, relative to learning_rate",
        ge=0,
        le=1e4,
        search=Range(0.1, 10, log=True),
        control=Control("multiplicative", 1e-3, 1e4),
        neutral=1.0,
    )
    output_lr_ratio: float = setting(
        1.0,
        "learning rate of the output matrix, relative to learning_rate",
        ge=0,
        le=1e4,
        search=Range(0.1, 10, log=True),
        when={"tie_weights": (False,)},
        control=Control("multiplicative", 1e-3, 1e4),
        neutral=1.0,
    )
    vector_lr_ratio: float = setting(
        1.0,
        "learning rate of norms and biases, relative to learning_rate",
        ge=0,
        le=1e4,
        search=Range(0.1, 10, log=True),
        control=Control("multiplicative", 1e-3, 1e4),
        neutral=1.0,
    )
    schedule: Schedule = setting(
        "linear",
        "learning rate after the warm-up; wsd is warm-up, stable, linear decay",
        search=Choices(("cosine", "constant", "linear", "wsd")),
    )
    warmup_fraction: float = setting(
        0.2, "share of the horizon over which the learning rate rises from 0", ge=0, le=1, search=Range(0.0, 0.4)
    )
    decay_fraction: float = setting(
        0.2,
        "share of the horizon over which wsd decays",
        ge=0,
        le=1,
        search=Range(0.1, 0.5),
        when={"schedule": ("wsd",)},
    )
    min_lr_ratio: float = setting(
        0.1,
        "final learning rate, relative to the peak",
        ge=0,
        le=1,
        search=Range(0.0, 0.3),
        when={"schedule": ("cosine", "linear", "wsd")},
    )
    z_loss: float = setting(
        0.0,
        "times the mean of (ln Z)², added to what is minimised, Z being the sum of e^logit; steadies the output's "
        "logits; 0 adds nothing",
        ge=0,
        le=10,
        search=Range(1e-6, 1e-2, log=True),
        switch=True,
        neutral=0.0,
    )
    weight_decay: float = setting(
        0.1,
        by_optimizer("weight_decay", "decoupled weight decay, on matrices unless vector_decay_ratio says otherwise"),
        ge=0,
        le=100,
        search=Range(1e-3, 1.0, log=True),
        control=Control("multiplicative", 1e-6, 10.0),
    )
    input_decay_ratio: float = setting(
        1.0,
        "weight decay of embedding tables, relative to weight_decay",
        ge=0,
        le=1e4,
        search=Choices((0.0, 1.0)),
        neutral=1.0,
    )
    output_decay_ratio: float = setting(
        1.0,
        "weight decay of the output matrix, relative to weight_decay",
        ge=0,
        le=1e4,
        search=Choices((0.0, 1.0)),
        when={"tie_weights": (False,)},
        neutral=1.0,
    )
    vector_decay_ratio: float = setting(
        0.0,
        "weight decay of norms and biases, relative to weight_decay",
        ge=0,
        le=1e4,
        search=Choices((0.0, 1.0)),
        neutral=0.0,
    )
    grad_clip: float = setting(
        0.25,
        "largest norm of a member's gradient; 0 does not clip",
        ge=0,
        search=Range(0.05, 5, log=True),
        control=Control("multiplicative", 1e-3, 1e3),
    )
    eval_interval: int = setting(250, "iterations between evaluations", ge=1, identity=False)
    eval_tokens: int = setting(
        81920,
        "targets of the evaluation at the horizon, one a byte of text, spread evenly over the slice; 0 takes all of "
        "it, as the default does where there are fewer; looks on the way take a sixteenth of them",
        ge=0,
        when={"eval_by": ("tokens",)},
    )
    eval_iters: int = setting(
        30,
        "validation batches an evaluation, spread evenly over the slice; 0 takes all of it; with eval_by = tokens it "
        "is another way to say eval_tokens",
        ge=0,
        when={"eval_by": ("windows",)},
    )
    eval_by: Literal["tokens", "windows"] = setting(
        "tokens",
        "tokens: fixed targets, the same for every configuration, and a spike of the training loss is no divergence; "
        "windows: the rule of older versions",
        neutral="windows",
    )
    eval_slice: Literal["tuning", "confirmation", "test"] = setting(
        "tuning",
        "validation text to evaluate on: tuning decides, confirmation confirms, test is kept for the end",
        neutral="tuning",
    )
    divergence_margin: float = setting(
        1.0,
        "validation losses above ln(vocabulary) + margin, at two looks in a row or at the horizon, have diverged; in "
        "nats",
        gt=0,
    )
    precision: Literal["fp32", "bf16"] = setting("fp32", "arithmetic; bf16 autocasts matrix products", shared=True)
    device: str = setting("auto", "auto (CUDA if there is one), cpu, cuda, cuda:1, …", identity=False, shared=True)
    compile: bool = setting(
        False,
        "train by compiled functions: a minute for each variant and shape, once, then faster; equal to rounding; needs "
        "a C++ compiler",
        identity=False,
        shared=True,
    )

    def canonical(self, config: Any) -> Mapping[str, Value]:
        """The simplest of equal schedules, initial weights by the width and the tokenizer of the text where they are
        that anyway, and no ratio of what is not there, does not move or does not decay.

        Shares of the horizon that are rounded to the same iteration stay apart: a longer one tells them apart.
        """
        std = 0.0 if self.init_std == config.derived_std else self.init_std
        same: dict[str, Value] = {"schedule": config.simplest_schedule, "init_std": std}
        if self.tokenizer == self.own_tokenizer:
            same["tokenizer"] = AUTO
        for role in ("input", "output", "vector"):
            rate, decay = f"{role}_lr_ratio", f"{role}_decay_ratio"
            there = role in config.roles
            decays = there and getattr(self, rate) and self.weight_decay
            idle = [] if decays else [decay] if there else [rate, decay]
            same |= {name: type(self).model_fields[name].default for name in idle}
        return same

    @pydantic.field_validator("optimizer", mode="after")
    @classmethod
    def _known(cls, name: str) -> str:
        return Optimizer.find(shown(name)).name

    @pydantic.field_validator("eval_tokens", mode="after")
    @classmethod
    def _whole_spans(cls, tokens: int) -> int:
        if 0 < tokens < SPAN:
            raise ValueError(f"less than one span of text; expected at least {SPAN}, or 0 for the whole slice")
        return tokens
