"""Multi-head attention."""

from tunemax.gpt.attention.base import Attention


class MultiHead(Attention, name="multi_head"):
    """Each query head has keys and values of its own (Vaswani et al., arXiv 1706.03762, section 3.2.2)."""
