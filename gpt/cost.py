"""What a configuration costs: parameters, tokens and floating-point operations, counted in one way everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tunemax.gpt.config import Config, ModelConfig
from tunemax.gpt.layout import Parameter
from tunemax.gpt.model import parameters

SHAPES = 64
"""So many are kept: every trial of a study asks for one of few."""
SCALARS = {name: field.default for name, field in ModelConfig.model_fields.items() if isinstance(field.default, float)}
"""Fields of a model that change no shape, at their defaults."""


@dataclass(frozen=True)
class Cost:
    """Of one member."""

    parameters: int
    """Numbers that it trains: the columns of its row that it uses."""
    tokens: int
    """Of an iteration: windows a batch × context."""
    flops: float
    """Of an iteration."""

    @classmethod
    def of(cls, config: Config, vocab_size: int) -> Cost:
        """The cost of a configuration on text with so many different tokens."""
        tokens = config.train.batch_size * config.model.block_size
        return cls(trained(config, vocab_size), tokens, tokens * flops_a_token(config.model, vocab_size))


def trained(config: Config, vocab_size: int) -> int:
    """How many numbers a member trains; those that its variant does not use are not among them."""
    softmax = config.softmax
    learned = {f"{softmax.name}.{field}" for field in softmax.learned()}
    return sum(
        p.size if p.kind != "learnable" or softmax.per_head else 1
        for p in _parameters(config.model, vocab_size)
        if p.kind != "learnable" or p.field in learned
    )


def flops_a_token(model: ModelConfig, vocab_size: int) -> float:
    """Floating-point operations of training on one token: 6 N + 12 L H Q T (PaLM, arXiv 2204.02311, appendix B).

    N are the weights that a token is multiplied with: those of all linear layers, and the output matrix, whether it is
    tied or not; not the embedding tables, which are looked up. L layers of H heads of width Q (H Q = n_embd), T tokens
    of context, counted in full although half of them are masked. Forward, and twice as much backward. Only matrix
    products count: not norms, biases, activations, the softmax variant or its guard.
    """
    width = model.n_embd
    weights = vocab_size * width + sum(p.size for p in _parameters(model, vocab_size) if p.role == "hidden")
    return float(6 * weights + 12 * model.n_layer * width * model.block_size)


def _parameters(model: ModelConfig, vocab_size: int) -> tuple[Parameter, ...]:
    return _of_shape(model.model_copy(update=SCALARS), vocab_size)


@lru_cache(maxsize=SHAPES)
def _of_shape(shape: ModelConfig, vocab_size: int) -> tuple[Parameter, ...]:
    return tuple(parameters(shape, vocab_size))
