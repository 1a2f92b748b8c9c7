"""The sizes of a model, which all its parts are told."""

from __future__ import annotations

import math

from tunemax.gpt.fields import Choices, Fields, Range, setting


class Shape(Fields):
    """How large a GPT is."""

    n_layer: int = setting(4, "transformer blocks", ge=1, le=96, search=Range(1, 8, step=1), shared=True)
    n_head: int = setting(
        4,
        "attention heads; must divide n_embd, or head_dim says how wide they are",
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
    bias: bool = setting(False, "biases in linear layers and norms", search=Choices((False, True)), shared=True)

    @property
    def residual_shrink(self) -> float:
        """Of what is added to the residual stream 2 L times: initial weights so much smaller that depth does not widen
        it, as in GPT-2."""
        return math.sqrt(2 * self.n_layer)
