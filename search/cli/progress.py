"""How far something is that takes long, in a line of stderr: it is written over on a terminal, and rare elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

PATIENCE = 2.0  # seconds before there is a line at all
EVERY = {True: 0.5, False: 15.0}  # seconds between two, on a terminal and elsewhere


class Progress:
    """A watcher of `gpt.progress`. stream: stderr by default; now: seconds of a clock."""

    def __init__(self, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._now = stream or sys.stderr, now
        self._what, self._begun, self._begun_at, self._told = "", 0.0, 0, -math.inf
        self._open = False

    def __call__(self, what: str, done: int, whole: int | None) -> None:
        now = self._now()
        if what != self._what:
            self.close()
            self._what, self._begun, self._begun_at, self._told = what, now, done, -math.inf
        over = done == whole
        if now - self._begun < PATIENCE or (now - self._told < EVERY[self._on_terminal] and not (over and self._open)):
            return
        self._told = now
        self._write(self._line(done, whole, now))

    def close(self) -> None:
        """What is written from now on stands below."""
        if self._open and self._on_terminal:
            self._stream.write("\n")
        self._open = False

    @property
    def _on_terminal(self) -> bool:
        return self._stream.isatty()

    def _line(self, done: int, whole: int | None, now: float) -> str:
        rate = (done - self._begun_at) / max(now - self._begun, 1e-9)
        if whole is None or whole < done:
            return f"{self._what} {done / 1e6:,.0f} MB, {rate / 1e6:,.1f} MB/s"
        left = f", {(whole - done) / rate:,.0f} s left" if rate and done < whole else ""
        return f"{self._what} {100 * done / whole:.0f} % of {whole / 1e6:,.0f} MB, {rate / 1e6:,.1f} MB/s{left}"

    def _write(self, line: str) -> None:
        if self._on_terminal:
            self._stream.write(f"\r{line:<79}"[:80])
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
        self._open = True
