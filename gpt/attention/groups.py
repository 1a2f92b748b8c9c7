"""What attention kinds have in common whose query heads share keys and values in groups."""

from __future__ import annotations

from tunemax.gpt.attention.base import Attention
from tunemax.gpt.fields import Choices, setting
from tunemax.gpt.shape import Shape


class Groups(Attention):
    """Query head h reads the keys and values of head h // (n_head / n_kv_head)."""

    n_kv_head: int = setting(
        1,
        "heads of keys and values; must divide n_head; with 1 all query heads share them",
        ge=1,
        le=128,
        search=Choices((1, 2)),
        shared=True,
    )

    def check(self, shape: Shape) -> None:
        super().check(shape)
        if shape.n_head % self.n_kv_head:
            raise ValueError(
                f"n_head = {shape.n_head} is not divisible by n_kv_head = {self.n_kv_head}; change one of them"
            )

    def kv_heads(self, shape: Shape) -> int:
        return self.n_kv_head
