"""Optuna studies over softmax variants and hyperparameters. ``from search import open_study, objective``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.api import objective, open_study

__all__ = ["objective", "open_study"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `tunemax --help` imports this package too, and must not wait for torch and Optuna.
    if name in __all__:
        from search import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
