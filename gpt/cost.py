"""What a configuration costs: parameters, tokens and floating-point operations, counted in one way everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tunemax.gpt.config import Config, ModelConfig
from tunemax.gpt.fields import specs_of
from tunemax.gpt.model import parameters
from tunemax.gpt.parameters import Parameter

SHAPES = 64
"""So many are kept: every trial of a study asks for one of few."""
SCALARS = {
    spec.name: spec.default for spec in specs_of(ModelConfig, "model") if spec.is_scalar and not spec.declared.shared
}
"""Fields of a model that change no shape, at their defaults."""
PLAIN = Config.of()


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
        return cls(trained(config, vocab_size), tokens, tokens * flops_a_token(config, vocab_size))


def trained(config: Config, vocab_size: int) -> int:
    """How many numbers a member trains; those that its variant does not use are not among them."""
    softmax = config.softmax
    learned = {f"{softmax.name}.{field}" for field in softmax.learned()}
    return sum(
        p.size if p.role != "scalar" or softmax.per_head else p.size // p.shape[0]
        for p in _parameters(config, vocab_size)
        if p.role != "scalar" or p.field in learned
    )


def flops_a_token(config: Config, vocab_size: int) -> float:
    """Floating-point operations of training on one token: 6 N + 3 L A (PaLM, arXiv 2204.02311, appendix B), and its
    share of what the member writes meanwhile.

    N are the weights that a token is multiplied with: those of all linear layers, and the output matrix, whether it is
    tied or not; not the embedding tables, which are looked up. A is what the attention kind says of one of L layers: 4
    H Q T for H heads of width Q, and T tokens of context, counted in full although half of them are masked. Forward,
    and twice as much backward. Only matrix products count: not norms, biases, activations, the softmax variant or its
    guard. A token that a member writes for its own batches is a forward pass, 2 N + L A: the windows of a pool are
    shared out among the tokens between two pools, as if there were one before the first, too.
    """
    model = config.model
    weights = vocab_size * model.n_embd + sum(p.size for p in _parameters(config, vocab_size) if p.role == "hidden")
    training = 6 * weights + 3 * model.n_layer * config.attention.flops(model)
    return float(training * (1 + written(config) / 3))


def written(config: Config) -> float:
    """Tokens of windows that a member writes for its own batches, prompts included, for each that it trains on."""
    own = config.feedback
    return own.feedback_pool / (own.feedback_every * config.train.batch_size) if own.feedback_share else 0.0


def _parameters(config: Config, vocab_size: int) -> tuple[Parameter, ...]:
    model = config.model.model_copy(update={**SCALARS, "softmax_variant": PLAIN.model.softmax_variant})
    rest = {"softmax": PLAIN.softmax, "train": PLAIN.train, "optimizer": PLAIN.optimizer}
    rest |= {"feedback": PLAIN.feedback, "log": PLAIN.log}
    return _of_shape(config.model_copy(update={"model": model, **rest}), vocab_size)


@lru_cache(maxsize=SHAPES)
def _of_shape(shape: Config, vocab_size: int) -> tuple[Parameter, ...]:
    return tuple(parameters(shape, vocab_size))
