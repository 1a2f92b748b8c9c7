"""Tokenizers: a class each, registered by being defined in a module of this package."""

from tunemax.gpt.modules import load_modules
from tunemax.gpt.tokenizers.base import AUTO, MOST_TOKENS, Ids, Tokenizer, Tokens

load_modules(__name__, __path__)

__all__ = ["AUTO", "MOST_TOKENS", "Ids", "Tokenizer", "Tokens"]
