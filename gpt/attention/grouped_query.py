"""Grouped-query attention."""

from tunemax.gpt.attention.groups import Groups


class GroupedQuery(Groups, name="grouped_query"):
    """Neighbouring query heads share keys and values (Ainslie et al., arXiv 2305.13245)."""
