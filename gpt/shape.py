"""The sizes of a model, which all its parts are told, and what its width does to them.

muP (Yang and Hu, arXiv 2203.03466) divides what grows with the width: the initial weights and the learning rate of
hidden matrices, and the logits. So a learning rate that is best at one width is about the best at every width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

import pydantic

from tunemax.gpt.fields import Choices, Fields, Range, Value, setting

MUP = {"parametrisation": ("mup",)}


class Shape(Fields):
    """How large a GPT is."""

    n_layer: int = setting(4, "transformer blocks", ge=1, le=96, search=Range(1, 8, step=1), shared=True)
    n_head: int = setting(
        4,
        "attention heads; divide n_embd unless head_dim is given",
        ge=1,
        le=128,
        search=Choices((1, 2, 4, 8)),
        shared=True,
    )
    n_embd: int = setting(
        64, "width of the residual stream", ge=1, le=16384, search=Choices((32, 64, 128, 256)), shared=True
    )
    block_size: int = setting(
        64, "context length in tokens", ge=1, le=65536, search=Choices((32, 64, 128, 256)), shared=True
    )
    parametrisation: Literal["standard", "mup"] = setting(
        "standard",
        "what follows the width: initial weights alone, or with mup also learning rates and the scale of logits, so "
        "that the best learning rate stays where it is",
        search=Choices(("standard", "mup")),
        shared=True,
        neutral="standard",
    )
    mup_base_width: int = setting(
        0,
        "the n_embd at which muP equals the standard parametrisation, and at which it was tuned; it has to be given",
        ge=0,
        le=16384,
        when=MUP,
        shared=True,
        neutral=0,
    )
    mup_base_head_width: int = setting(
        0,
        "width of a head at mup_base_width; 0 for as many heads there as here, or for head_dim if it is given. Where "
        "heads of one width become more, it is that width",
        ge=0,
        le=16384,
        when={**MUP, "qk_norm": ("none", "rms")},
        shared=True,
        neutral=0,
    )
    mup_input_scale: float = setting(
        1.0,
        "what embeddings are multiplied with",
        gt=0,
        le=1e4,
        when=MUP,
        search=Choices((0.5, 1.0, 2.0, 4.0)),
        shared=True,
        neutral=1.0,
    )
    mup_output_scale: float = setting(
        1.0,
        "what logits are multiplied with at mup_base_width",
        gt=0,
        le=1e4,
        when=MUP,
        search=Choices((0.5, 1.0, 2.0, 4.0)),
        shared=True,
        neutral=1.0,
    )
    bias: bool = setting(False, "biases in linear layers and norms", search=Choices((False, True)), shared=True)

    @property
    def residual_shrink(self) -> float:
        """Of what is added to the residual stream 2 L times: initial weights so much smaller that depth does not widen
        it, as in GPT-2."""
        return math.sqrt(2 * self.n_layer)

    @pydantic.model_validator(mode="after")
    def _base_of_mup(self) -> Self:
        if self.parametrisation == "mup" and not self.mup_base_width:
            raise ValueError(
                "parametrisation = mup: needs mup_base_width, the n_embd at which its learning rate is tuned, such as "
                "64; or take parametrisation = standard"
            )
        return self

    def canonical(self, config: Any) -> Mapping[str, Value]:
        """At the base width, where nothing is scaled, muP is the standard parametrisation; elsewhere heads have a width
        at the base, whoever says it, unless it follows from their width here."""
        attention = config.attention
        scales = self.width_multiple, self.input_scale, self.output_scale, attention.query_scale(self)
        if all(scale == 1 for scale in scales):
            return {"parametrisation": "standard"}
        base, derived = attention.base_head_width(self), attention.head_width(self) / self.width_multiple
        return {"mup_base_head_width": 0 if base == derived else int(base)}

    @property
    def base_width(self) -> int:
        """The width of the model that was tuned; its own without muP."""
        return self.mup_base_width if self.parametrisation == "mup" else self.n_embd

    @property
    def width_multiple(self) -> float:
        """How many times as wide it is as the model that was tuned; 1 without muP."""
        return self.n_embd / self.base_width

    @property
    def input_scale(self) -> float:
        """What embeddings are multiplied with."""
        return self.mup_input_scale if self.parametrisation == "mup" else 1.0

    @property
    def output_scale(self) -> float:
        """What logits are multiplied with: with muP, the wider a model the less, since it learns to agree with them."""
        return self.mup_output_scale / self.width_multiple if self.parametrisation == "mup" else 1.0
