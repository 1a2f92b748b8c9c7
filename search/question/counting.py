"""Counts in words."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """``1 trial``, ``2,000 trials``, ``0 studies``. noun: in the singular; of several words the last one bends."""
    return f"{count:,} {one_or(count, noun, f'{noun[:-1]}ies' if noun.endswith('y') else f'{noun}s')}"


def one_or(count: int, one: str, many: str) -> str:
    """What goes with a count, such as a verb: the first for 1, else the second."""
    return one if count == 1 else many
