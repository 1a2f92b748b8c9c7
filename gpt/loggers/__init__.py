"""Where the numbers of a training go: a class each, registered by being defined in a module of this package."""

from tunemax.gpt.loggers.base import LOGGERS, Logger, Loggers
from tunemax.gpt.modules import load_modules

load_modules(__name__, __path__)

__all__ = ["LOGGERS", "Logger", "Loggers"]
