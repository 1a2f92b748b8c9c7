"""torch, loaded when it is first used and not when it is named.

Loading torch takes longer than most commands do otherwise. A study is listed, shown and judged by modules that know
every variant's parameters and never compute with them; whoever computes says `import torch`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["F", "torch"]


class _Module:
    """Stands for a module until one of its names is asked for; then it has that name itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, found)
        return found


if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
else:
    torch, F = _Module("torch"), _Module("torch.nn.functional")
