"""Norms: a class each, registered by being defined in a module of this package."""

from tunemax.gpt.modules import load_modules
from tunemax.gpt.norm.base import Norm
from tunemax.gpt.parts import check_kinds

load_modules(__name__, __path__)
check_kinds(Norm)

__all__ = ["Norm"]
