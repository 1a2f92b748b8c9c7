"""Ways to tell where a token stands: a class each, registered by being defined in a module of this package."""

from tunemax.gpt.modules import load_modules
from tunemax.gpt.parts import check_kinds
from tunemax.gpt.positions.base import Positions

load_modules(__name__, __path__)
check_kinds(Positions)

__all__ = ["Positions"]
