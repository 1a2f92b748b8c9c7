"""Locks that are files: each goes with the process that holds it, however that ends."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunemax.gpt.errors import TunemaxError


class Busy(Exception):
    """Another process holds the lock, or another thread of this one."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock in the block; wait for whoever has it. Raises TunemaxError if the path is no lock of ours."""
    with _opened(path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def locked_at_once(path: Path) -> Iterator[None]:
    """The same, but raises Busy if somebody has it."""
    with _opened(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy from None
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A file that is there, or made, and never changed: in a folder of many users its name may lead anywhere."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):  # a link, as Linux and macOS say it
            raise TunemaxError(f"{path}: expected a lock, which is a plain file; remove what is there") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(lock).st_mode):
            raise TunemaxError(f"{path}: expected a lock, which is a plain file; remove what is there")
        yield lock
    finally:
        os.close(lock)
