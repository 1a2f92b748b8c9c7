"""Softmax variants: one class each, registered by being defined in a module of this package."""

from tunemax.gpt.modules import load_modules
from tunemax.gpt.parts import check_kinds
from tunemax.gpt.softmax.base import Form, Variant, Work, find_variant, from_column, to_column, variants
from tunemax.gpt.softmax.numerics import GUARD, guard

load_modules(__name__, __path__)
check_kinds(Variant)

__all__ = ["GUARD", "Form", "Variant", "Work", "find_variant", "from_column", "guard", "to_column", "variants"]
