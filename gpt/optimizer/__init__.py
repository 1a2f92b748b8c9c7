"""Optimizers on rows: one class each, registered by being defined in a module of this package."""

from tunemax.gpt.modules import load_modules
from tunemax.gpt.optimizer.base import Optimizer, Rows, Update, clip_, clipped
from tunemax.gpt.parts import check_kinds

load_modules(__name__, __path__)
check_kinds(Optimizer)

__all__ = ["Optimizer", "Rows", "Update", "clip_", "clipped"]
