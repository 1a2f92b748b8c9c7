"""Every registered softmax variant in a spread of its settings, for the contract tests: see `tunemax.gpt.testing`.

So a variant added later is tested by being registered; only its oracle is written by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tunemax.gpt.softmax import Variant, variants
from tunemax.gpt.testing.variants import (
    CAUSAL,
    B,
    D,
    H,
    T,
    bound,
    columns_of,
    normal,
    own_specs,
    search_ends,
    settings_of,
)

__all__ = [
    "CAUSAL",
    "B",
    "D",
    "H",
    "T",
    "bound",
    "columns_of",
    "every_setting",
    "normal",
    "only",
    "own_specs",
    "search_ends",
]

SETTINGS: list[Any] = [
    pytest.param(variant, id=f"{name}:{label}")
    for name, cls in variants().items()
    for label, variant in settings_of(cls).items()
]
"""One pytest parameter for each variant and different setting of it."""
every_setting = pytest.mark.parametrize("variant", SETTINGS)


def only(condition: Callable[[Variant], Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("variant", [s for s in SETTINGS if condition(s.values[0])])
