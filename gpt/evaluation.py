"""How much is evaluated: whole spans of the text, and what `eval_iters` means in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tunemax.gpt.numbers import MOST

SPAN = 64
"""Bytes of text whose tokens are evaluated together; targets are taken in such spans, spread over the slice. Shorter
ones say more a token, since neighbours are alike; longer ones are cheaper for a long context: benchmarks/RESULTS.md."""
LOOK = 16
"""A look on the way takes one of so many spans of those of the horizon, from the first on."""


def tokens_of(eval_iters: int, batch_size: int, block_size: int) -> int:
    """What so many batches of validation windows are as `eval_tokens`, up to whole spans; 0 stays all of the slice, and
    what no text has becomes the most that the field holds."""
    return min(-(-eval_iters * batch_size * block_size // SPAN) * SPAN, MOST)


def chosen_itself(given: Mapping[str, Any]) -> bool:
    """Whether `eval_tokens` among some flat fields was asked for as such, and does not stand for `eval_iters`."""
    return "eval_tokens" in given and "eval_iters" not in given


def converted(eval_iters: int, tokens: int) -> str:
    """The one line that tells of a conversion."""
    if not tokens:
        return "eval_iters = 0: taken as eval_tokens = 0, the whole slice"
    return (
        f"eval_iters = {eval_iters}: taken as eval_tokens = {tokens}, or the whole slice where it is shorter, which "
        "are the same tokens whatever the batch and the context"
    )


def perplexity(loss: float) -> float:
    """e^loss; infinite where that is beyond a float."""
    return math.exp(loss) if loss < 700 else math.inf if loss == loss else math.nan
