"""Attention kinds: a class each, registered by being defined in a module of this package."""

from tunemax.gpt.attention.base import Attention, Place
from tunemax.gpt.modules import load_modules
from tunemax.gpt.parts import check_kinds

load_modules(__name__, __path__)
check_kinds(Attention)

__all__ = ["Attention", "Place"]
