"""Optimizers on rows: one class each, registered by being defined in a module of this package."""

import importlib
import pkgutil

from tunemax.gpt.optimizer.base import Optimizer, Rows, Update, clip_, clipped

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

__all__ = ["Optimizer", "Rows", "Update", "clip_", "clipped"]
