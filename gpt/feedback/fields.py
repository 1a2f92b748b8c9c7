"""The fields of feedback, and what they come to in whole windows and tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

import pydantic

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Above, Choices, Condition, Control, Fields, Range, Value, setting

ON: Condition = {"feedback_share": Above(0)}
"""The condition of everything else."""
FILTERED: Condition = {**ON, "feedback_filter": ("likelihood", "novelty")}

COSTLY = ("feedback_share", "feedback_every", "feedback_pool")
"""Fields that decide what writing costs, though members may differ in them."""


class Feedback(Fields):
    """What a member writes itself while it trains, and how much of a batch is made of it.

    At iteration `feedback_every`, and at each multiple of it, it writes a pool of windows, each behind a prompt from
    its training text; from then on a share of each batch is drawn from the pool, until it writes the next one.
    """

    feedback_share: float = setting(
        0.0,
        "share of the windows of a batch that the member has written itself; 0 writes nothing. At least one window of "
        "every batch is of the text",
        ge=0,
        lt=1,
        search=Range(0.05, 0.5),
        control=Control("logit", 0.0, 0.5),
        neutral=0.0,
    )
    feedback_every: int = setting(
        100,
        "iterations between two pools; before the first one all windows are of the text",
        ge=1,
        when=ON,
        search=Range(25, 400, log=True),
        neutral=100,
    )
    feedback_pool: int = setting(
        64, "windows that are written for a pool", ge=1, le=65536, when=ON, search=Choices((32, 64, 128)), neutral=64
    )
    feedback_prompt: float = setting(
        0.5,
        "share of a written window that is its prompt, from the training text; at least one token",
        ge=0,
        lt=1,
        when=ON,
        search=Range(0.0, 0.9),
        neutral=0.5,
    )
    feedback_temperature: float = setting(
        1.0,
        "divides the logits that windows are drawn from: a low one writes what is likely",
        gt=0,
        le=100,
        when=ON,
        search=Range(0.5, 1.5),
        neutral=1.0,
    )
    feedback_noise: float = setting(
        0.0,
        "share of the written tokens that are replaced by one from anywhere in the training text; what is written "
        "behind it goes on from there",
        ge=0,
        le=1,
        when=ON,
        search=Range(0.0, 0.3),
        neutral=0.0,
    )
    feedback_filter: Literal["none", "likelihood", "novelty"] = setting(
        "none",
        "by what the windows of a pool are ranked, of which those from feedback_low to feedback_high are kept: "
        "likelihood, the member's own of what it has written; novelty, the share of n-grams that the training text "
        "does not have; none keeps all",
        when=ON,
        search=Choices(("none", "likelihood", "novelty")),
        neutral="none",
    )
    feedback_low: float = setting(
        0.25,
        "where the ranks begin that are kept, as a share of the pool; 0 is the least likely, or the least novel",
        ge=0,
        le=1,
        when=FILTERED,
        search=Range(0.0, 0.4),
        neutral=0.25,
    )
    feedback_high: float = setting(
        0.75, "where they end", ge=0, le=1, when=FILTERED, search=Range(0.6, 1.0), neutral=0.75
    )
    feedback_ngram: int = setting(
        8,
        "tokens of an n-gram whose novelty counts",
        ge=1,
        when={**ON, "feedback_filter": ("novelty",)},
        search=Choices((4, 8, 16)),
        neutral=8,
    )

    @pydantic.model_validator(mode="after")
    def _ranks_in_order(self) -> Self:
        if self.feedback_share and self.feedback_filter != "none" and self.feedback_low >= self.feedback_high:
            low, high = self.feedback_low, self.feedback_high
            raise ValueError(f"feedback_low = {low:g} is not below feedback_high = {high:g}; change one of them")
        return self

    def check(self, batch_size: int, block_size: int) -> None:
        """Raise TunemaxError for what cannot be in batches of so many windows of such a context."""
        share, most = self.feedback_share, batch_size - 1
        if share * batch_size > most + 1e-9:
            remedy = (
                f"take at most {math.floor(1000 * most / batch_size) / 1000:g}"
                if most
                else "take 0, or a larger batch_size"
            )
            raise TunemaxError(
                f"feedback_share = {share:g}: leaves less than one window of the text in batch_size = {batch_size}; "
                f"{remedy}"
            )
        if share and self.feedback_filter == "novelty" and self.feedback_ngram > block_size:
            raise TunemaxError(
                f"feedback_ngram = {self.feedback_ngram}: longer than block_size = {block_size}; take at most so many"
            )

    def check_horizon(self, max_iters: int, steered: bool = False) -> None:
        """Raise TunemaxError if a training of so many iterations ends before anything is written. steered: the share
        may rise while it runs."""
        if (self.feedback_share or steered) and self.feedback_every >= max_iters:
            raise TunemaxError(
                f"feedback_every = {self.feedback_every}: a training of {max_iters:,} iterations ends before anything "
                f"is written; take less than {max_iters:,}"
            )

    @property
    def kept(self) -> tuple[int, int]:
        """The ranks of a pool that are kept, from the first to before the last; at least one."""
        if self.feedback_filter == "none":
            return 0, self.feedback_pool
        begin, end = self.feedback_low * self.feedback_pool, self.feedback_high * self.feedback_pool
        return math.floor(begin), math.ceil(end)

    def prompt(self, block_size: int) -> int:
        """Tokens of a prompt; of the `block_size` + 1 of a window at least one is written."""
        return min(max(round(self.feedback_prompt * block_size), 1), block_size)

    def canonical(self, config: Any) -> Mapping[str, Value]:
        """No share where none of it comes to be drawn before the horizon, no filter that keeps everything, and whole
        windows and tokens."""
        horizon, batch = config.train.max_iters, config.train.batch_size
        if self.feedback_share and not drawn_between(self.feedback_share, batch, self.feedback_every, horizon):
            return {"feedback_share": 0.0}
        begin, end = self.kept
        if (begin, end) == (0, self.feedback_pool):
            same: dict[str, Value] = {"feedback_filter": "none"}
        else:
            same = {"feedback_low": begin / self.feedback_pool, "feedback_high": end / self.feedback_pool}
        return {**same, "feedback_prompt": self.prompt(config.model.block_size) / config.model.block_size}


def drawn_between(share: float, batch_size: int, first: int, last: int) -> int:
    """Windows of a member's own in the batches of the iterations from `first` on and before `last`.

    share · batch_size a batch on average: by iteration i, ⌊i · share · batch_size⌋ of all windows are its own, so that
    batches differ by one window at the most, and any share is kept to a window.
    """
    each = share * batch_size
    return max(math.floor(last * each) - math.floor(first * each), 0)


def drawn_at(share: float, batch_size: int, iteration: int) -> int:
    """The same of one iteration; one window of a batch, at least, is of the text."""
    return min(drawn_between(share, batch_size, iteration, iteration + 1), batch_size - 1)
