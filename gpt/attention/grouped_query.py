"""Grouped-query attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunemax.gpt.attention.groups import Groups
from tunemax.gpt.fields import Value


class GroupedQuery(Groups, name="grouped_query"):
    """Neighbouring query heads share keys and values (Ainslie et al., arXiv 2305.13245)."""

    def canonical(self, config: Any) -> Mapping[str, Value]:
        same = dict(super().canonical(config))
        if self.n_kv_head == config.model.n_head:
            same["attention"] = "multi_head"
        elif self.n_kv_head == 1:
            same["attention"] = "multi_query"
        return same
