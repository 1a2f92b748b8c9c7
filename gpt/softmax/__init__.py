"""Softmax variants: one class each, registered by being defined in a module of this package."""

import importlib
import pkgutil

from tunemax.gpt.softmax.base import Form, Variant, find_variant, from_column, to_column, variants
from tunemax.gpt.softmax.numerics import GUARD, guard

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

__all__ = ["GUARD", "Form", "Variant", "find_variant", "from_column", "guard", "to_column", "variants"]
