"""Softmax variants: one class each, registered by being defined in a module of this package."""

from tunemax.gpt.modules import load_modules
from tunemax.gpt.parts import check_kinds
from tunemax.gpt.softmax.base import (
    OUTPUT,
    Form,
    Variant,
    Work,
    find_output,
    find_variant,
    from_column,
    output_prefix,
    outputs,
    to_column,
    variants,
)
from tunemax.gpt.softmax.numerics import GUARD, guard

load_modules(__name__, __path__)
check_kinds(Variant)

__all__ = [
    "GUARD",
    "OUTPUT",
    "Form",
    "Variant",
    "Work",
    "find_output",
    "find_variant",
    "from_column",
    "guard",
    "output_prefix",
    "outputs",
    "to_column",
    "variants",
]
