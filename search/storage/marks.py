"""The mark of a process on the trials that it trains: by which it is known, and found out when it has died.

Nothing in it follows the clock, which may be set while a worker trains.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Self

import psutil

_PROC = Path("/proc")
DIGITS = 10
"""Of the number of a process, fewer than these: no system has larger ones, nor takes them."""
_ZOMBIES = (b"Z", b"X")


@dataclass(frozen=True)
class Mark:
    """A process, told apart from every other one, also from a later one of the same number.

    As text it is ``host:pid:start:boot:namespace:token``. Where there is no /proc, boot and namespace are empty.
    """

    host: str
    pid: int
    start: str
    """When it began: clock ticks since the machine has booted; where there is no /proc, as the system says it."""
    boot: str
    """Of the machine, until it is started again."""
    namespace: str
    """Of process numbers: that of another container on the same machine is another one."""
    token: str
    """Drawn at random."""

    def __str__(self) -> str:
        return ":".join(map(str, astuple(self)))

    @classmethod
    def read(cls, text: str) -> Self | None:
        """None if it is of an older version, which told processes apart by the clock, or no mark at all."""
        parts = text.split(":")
        if len(parts) != 6 or not (parts[1].isdecimal() and len(parts[1]) < DIGITS):
            return None
        return cls(parts[0], int(parts[1]), *parts[2:])

    @property
    def lives(self) -> bool | None:
        """Whether the process still runs; None if that cannot be seen from this process."""
        own = _mark(os.getpid())
        seen_alike = (self.host, self.boot, self.namespace) == (own.host, own.boot, own.namespace)
        if not seen_alike or (not own.boot and sys.platform == "linux"):
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # somebody else's
            pass
        start = _start(self.pid)
        return None if start is None else start == self.start


def mark() -> str:
    """The mark of this process, always the same."""
    return str(_mark(os.getpid()))


@cache
def _mark(pid: int) -> Mark:
    """Of this process: its number is asked for since a fork is another one."""
    boot = namespace = ""
    with contextlib.suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip().replace("-", "")[:16]
        namespace = os.readlink(_PROC / "self/ns/pid").strip("pid:[]")
    return Mark(socket.gethostname().replace(":", "-"), pid, _start(pid) or "", boot, namespace, secrets.token_hex(4))


def _start(pid: int) -> str | None:
    """When a process began, as `Mark.start` has it; empty for one that has ended and was not waited for.

    None if it may not be seen.
    """
    if not (_PROC / "self").exists():
        try:
            process = psutil.Process(pid)
            return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.3f}"
        except psutil.Error:
            return None
    try:
        # A name in parentheses, which may hold anything, comes before the third field
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in _ZOMBIES else fields[19].decode()
