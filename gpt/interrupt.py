"""Ctrl-C between two updates, never inside one; and a stop in the middle of what changes nothing."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

LOOKS = 0.5
"""Seconds between two looks whether to stop."""
AGAIN = 2.0
"""Seconds until Stopped is raised once more if the block still runs."""


class Stopped(BaseException):
    """Raised where `stopped_by` was told to stop. No Exception: whoever expects mistakes must not take it for one."""


@contextmanager
def stopped_by(asked: Callable[[], bool]) -> Iterator[None]:
    """Ask now and then whether to stop, whatever runs in the block, and raise Stopped in the middle of it.

    For what takes long and changes nothing, such as a compilation; in the main thread only, which gets the signals.
    Python drops what is raised while a destructor or a weak reference's callback runs, so Stopped comes again until the
    block has been left.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    inside, complain = True, sys.unraisablehook

    def look(*_: object) -> None:
        if inside and asked():
            signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
            raise Stopped

    def dropped(what: sys.UnraisableHookArgs) -> None:
        if not isinstance(what.exc_value, Stopped):
            complain(what)

    before = signal.signal(signal.SIGALRM, look)
    sys.unraisablehook = dropped
    signal.setitimer(signal.ITIMER_REAL, LOOKS, LOOKS)
    try:
        yield
    finally:
        inside = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        sys.unraisablehook = complain


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
