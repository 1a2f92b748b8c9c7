"""Optuna studies over softmax variants and hyperparameters, their workers, their results, and the command line.

From Python: ``from tunemax.search import open_study, objective``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunemax.search.api import confirm_study, create_study, objective, open_study, run_study

if __name__ != "tunemax.search":  # a second copy of every module would be loaded
    raise ImportError("search: this folder is imported as tunemax.search; write `from tunemax import search`")

__all__ = ["confirm_study", "create_study", "objective", "open_study", "run_study"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `tunemax --help` imports this package too, and must not wait for torch and Optuna.
    if name in __all__:
        from tunemax.search import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
