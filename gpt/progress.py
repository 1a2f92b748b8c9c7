"""How far something is that takes long, for whoever wants to show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watcher = Callable[[str, int, int | None], None]
"""Told what is done, and how many bytes of how many; None where nobody knows how many there are. At the end both are
equal."""


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """In the block, `advanced` tells this watcher."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def advanced(what: str, done: int, whole: int | None) -> None:
    """Say how far it is. Costs next to nothing; say it as often as something moves."""
    if watcher := _watcher.get():
        watcher(what, done, whole)


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)
