"""Ctrl-C between two updates, never inside one; and a stop in the middle of what changes nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

LOOKS = 0.5
"""Seconds between two looks whether to stop."""


class Stopped(BaseException):
    """Raised where `stopped_by` was told to stop. No Exception: whoever expects mistakes must not take it for one."""


@contextmanager
def stopped_by(asked: Callable[[], bool]) -> Iterator[None]:
    """Ask now and then whether to stop, whatever runs in the block, and raise Stopped in the middle of it.

    For what takes long and changes nothing, such as a compilation; in the main thread only, which gets the signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def look(*_: object) -> None:
        if asked():
            signal.setitimer(signal.ITIMER_REAL, 0)  # once: a second one could come after the block
            raise Stopped

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOKS, LOOKS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def held_back() -> Iterator[None]:
    """Let an interrupt (or a SIGTERM that the program handles) wait until the block is whole.

    Every snapshot taken after an interrupt is then of a state that training went through, so what resumes from it goes
    on bit for bit. Costs microseconds. Only the main thread gets signals; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []
    handlers = {
        number: handler for number in (signal.SIGINT, signal.SIGTERM) if callable(handler := signal.getsignal(number))
    }
    try:
        for number in handlers:
            signal.signal(number, lambda *arguments: waiting.append(arguments))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for arguments in waiting[:1]:
        handlers[signal.Signals(arguments[0])](*arguments)
