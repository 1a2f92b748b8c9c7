"""Optuna studies over softmax variants and hyperparameters, their workers, their results, and the command line.

From Python: ``from tunemax.search import run, leaderboard, open_study, objective``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunemax.search.api import confirm_study, create_study, generate, judge, objective, open_study, run, run_study
    from tunemax.search.frames import answer, compare, curves, figures, leaderboard, trials

if __name__ != "tunemax.search":  # a second copy of every module would be loaded
    raise ImportError("search: this folder is imported as tunemax.search; write `from tunemax import search`")

__all__ = [
    "answer",
    "compare",
    "confirm_study",
    "create_study",
    "curves",
    "figures",
    "generate",
    "judge",
    "leaderboard",
    "objective",
    "open_study",
    "run",
    "run_study",
    "trials",
]
FRAMES = ("answer", "compare", "curves", "figures", "leaderboard", "trials")


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `tunemax --help` imports this package too, and must not wait for torch and Optuna.
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("tunemax.search.frames" if name in FRAMES else "tunemax.search.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
