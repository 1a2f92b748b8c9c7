"""Norms: a class each, registered by being defined in a module of this package."""

import importlib
import pkgutil

from tunemax.gpt.norm.base import Norm

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

__all__ = ["Norm"]
