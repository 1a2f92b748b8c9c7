"""Ctrl-C between two updates, never inside one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_back() -> Iterator[None]:
    """Let an interrupt (or a SIGTERM that the program handles) wait until the block is whole.

    Every snapshot taken after an interrupt is then of a state that training went through, so what resumes from it goes on
    bit for bit. Costs microseconds. Only the main thread gets signals; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []
    handlers = {number: handler for number in (signal.SIGINT, signal.SIGTERM) if callable(handler := signal.getsignal(number))}
    try:
        for number in handlers:
            signal.signal(number, lambda *arguments: waiting.append(arguments))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for arguments in waiting[:1]:
        handlers[signal.Signals(arguments[0])](*arguments)
