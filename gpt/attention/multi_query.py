"""Multi-query attention."""

from tunemax.gpt.attention.base import Attention
from tunemax.gpt.shape import Shape


class MultiQuery(Attention, name="multi_query"):
    """All query heads read the same keys and values (Shazeer, arXiv 1911.02150)."""

    def kv_heads(self, shape: Shape) -> int:
        return 1
