"""Batches of which a share is what their members have written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from tunemax.gpt.feedback.fields import drawn_at
from tunemax.gpt.feedback.writing import W, Writer
from tunemax.gpt.random import generator


def feeds(member: Writer) -> bool:
    """Whether a share of its batches is its own; before the first pool, and where it kept nothing, none is drawn."""
    return bool(member.values.get("feedback_share"))


def fed(batches: Iterator[Tensor], members: Sequence[W], write: Callable[[Sequence[W]], None]) -> Iterator[Tensor]:
    """Batches (K, B, T + 1) of the text with the last windows of a member replaced by its own, where it has some; what
    comes before them is what it would be without.

    write: lets members write their pools as they are then: between two iterations, when the next batch is asked for.
    """
    for batch in batches:
        if due := [member for member in members if is_due(member)]:
            write(due)
        for windows, member in zip(batch, members, strict=True):
            own = drawn_now(member, len(windows))
            if own is not None:
                windows[len(windows) - len(own) :] = own.to(windows.device)
        yield batch


def is_due(member: Writer) -> bool:
    """Whether it writes before its next iteration."""
    return feeds(member) and member.iteration > 0 and member.iteration % _every(member) == 0


def _every(member: Writer) -> int:
    return member.config.feedback.feedback_every


def drawn_now(member: Writer, batch_size: int) -> Tensor | None:
    """Windows of its own (n, T + 1) for its next iteration, drawn with replacement; None for none."""
    count = drawn_at(member.values.get("feedback_share", 0.0), batch_size, member.iteration)
    pool = member.pool
    if not count or pool is None or not pool.holds(member.iteration, _every(member)):
        return None
    draw = generator(member.config.train.seed, "feedback", member.iteration, "windows")
    return pool.windows[torch.randint(len(pool.windows), (count,), generator=draw)]
