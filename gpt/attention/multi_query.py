"""Multi-query attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunemax.gpt.attention.base import Attention
from tunemax.gpt.fields import Value
from tunemax.gpt.shape import Shape


class MultiQuery(Attention, name="multi_query"):
    """All query heads read the same keys and values (Shazeer, arXiv 1911.02150)."""

    def kv_heads(self, shape: Shape) -> int:
        return 1

    def canonical(self, config: Any) -> Mapping[str, Value]:
        alone: Mapping[str, Value] = {"attention": "multi_head"} if config.model.n_head == 1 else {}
        return {**super().canonical(config), **alone}
