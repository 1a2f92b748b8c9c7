"""Ctrl-C and SIGTERM while a command runs: never lost, never silent, and at once where somebody presses again."""

from __future__ import annotations

import _thread
import contextlib
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WORD = 0.5
"""Seconds after which a command that has not ended yet says that it ends."""
AGAIN = 0.3
"""Seconds within which a second signal is the first one once more: a wrapper passes on what the whole group gets."""
RETRY = 0.05
"""Seconds until an interrupt that was dropped is raised anew."""
_ways: list[Callable[[], str]] = []
"""How the command that runs would go on, the innermost last; signals are for the whole process, and so is this."""
STOPPING = "tunemax: stopping once what runs is saved; Ctrl-C again ends it at once"
INTERRUPTED = 130
"""Exit status, as shells have it."""

_END, _DROPPED = b"\x00", b"\xff"


@contextlib.contextmanager
def listening(*, for_good: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Whoever asks to stop in this block is heard, in the main thread by a KeyboardInterrupt.

    A block may have handlers of its own, and take its time: if it does, a line says so. The second signal ends the
    process at once, which loses only what was not saved. Signals that were ignored before stay ignored.

    for_good: the process ends behind the block, and is quiet then. say: told what has become of the process if it is
    ended at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) in usual}
    with _Listener(say) as listener:
        for number in before:
            signal.signal(number, listener.interrupt)
        try:
            yield
            if listener.dropped:
                raise KeyboardInterrupt
        finally:
            for number, handler in before.items():
                signal.signal(number, _leave if for_good else handler)


@contextlib.contextmanager
def going_on(how: Callable[[], str]) -> Iterator[None]:
    """What is said, if this block is ended at once, of how to go on. how: empty where the words that were typed do."""
    _ways.append(how)
    try:
        yield
    finally:
        _ways.remove(how)


def way_on() -> str:
    """How the command that runs would go on; empty if the words that were typed do."""
    return _ways[-1]() if _ways else ""


class _Listener:
    """A thread that hears of signals as they come, whatever the main thread is busy with: it reads what Python writes
    to a pipe."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._asked = False
        self._ours = 0
        """Signals that are on their way from here."""
        self.dropped = False
        """Whether an interrupt came while Python can raise none, and is still to be raised anew."""

    def interrupt(self, *_: object) -> None:
        """The handler of signals: only the first one is raised."""
        if not self._asked or self.dropped:
            self._asked, self.dropped = True, False
            raise KeyboardInterrupt

    def __enter__(self) -> _Listener:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._complain, sys.unraisablehook = sys.unraisablehook, self._unraisable
        self._thread = threading.Thread(target=self._listen, name="interrupts", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._complain
        signal.set_wakeup_fd(self._wakeup)
        os.write(self._writing, _END)
        self._thread.join()
        os.close(self._reading)
        os.close(self._writing)

    def _unraisable(self, what: sys.UnraisableHookArgs) -> None:
        """Python drops what is raised while a destructor or a callback of the garbage collector runs."""
        if isinstance(what.exc_value, KeyboardInterrupt):
            self.dropped = True
            os.write(self._writing, _DROPPED)
        else:
            self._complain(what)

    def _listen(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the main thread may hold them back, too
        first, said, heard = 0.0, False, select.poll()  # select itself knows the first 1,024 files only
        heard.register(self._reading, select.POLLIN)
        while True:
            left = max(0.0, first + WORD - time.monotonic()) if first and not said else None
            if not heard.poll(None if left is None else math.ceil(1000 * left)):
                said = True
                if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # else it is on its last steps
                    print(STOPPING, file=sys.stderr, flush=True)
                continue
            byte = os.read(self._reading, 1)
            if byte == _END:
                return
            if byte == _DROPPED:
                time.sleep(RETRY)
                self._ours += 1
                _thread.interrupt_main(signal.SIGINT)
            elif byte[0] in SIGNALS and self._ours:
                self._ours -= 1
            elif byte[0] in SIGNALS and not first:
                first = time.monotonic()
            elif byte[0] in SIGNALS and time.monotonic() - first > AGAIN:
                self._end()

    def _end(self) -> None:
        if sys.stdout.isatty():
            os.write(1, b"\x1b[?25h")  # a picture hides the cursor
        self._say("ended at once")
        os._exit(INTERRUPTED)


def _leave(*_: object) -> None:
    """Python itself is about to end, and everything has been said."""
    os._exit(INTERRUPTED)
