"""Files that are there whole or not at all, and what becomes of a training where none can be written."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tunemax.gpt.errors import TunemaxError

PARTIAL = ".partial-"
STALE_SECONDS = 24 * 3600  # what a killed process left behind is swept a day later, when nobody can still be writing it


@contextlib.contextmanager
def partial_folder(root: Path) -> Iterator[Path]:
    """A hidden folder in `root` to write in; what is to stay is renamed out of it, the rest goes with the block."""
    root.mkdir(parents=True, exist_ok=True)
    for leftover in root.glob(PARTIAL + "*"):
        if time.time() - _modified(leftover) > STALE_SECONDS:
            shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=root) as folder:
        yield Path(folder)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that every reader sees all of `data` or what was there before."""
    with partial_folder(path.parent) as folder:
        partial = folder / path.name
        write_through(partial, data)
        os.replace(partial, path)


def write_through(path: Path, data: bytes) -> None:
    """Write and wait for the disk: a rename must not outlive the bytes that it stands for."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def forget(folder: Path, patterns: Iterable[str]) -> int:
    """Remove the files of these patterns from a folder, and the folder if nothing else is in it. Returns bytes freed.

    Nothing that a link leads to is touched, and no folder but one that `partial_folder` has left behind.
    """
    freed = 0
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        is_folder = path.is_dir() and not path.is_symlink()
        if is_folder and not path.name.startswith(PARTIAL):
            continue
        with contextlib.suppress(FileNotFoundError):  # somebody else has just removed it
            freed += sum(part.lstat().st_size for part in (path.glob("*") if is_folder else [path]))
            shutil.rmtree(path, ignore_errors=True) if is_folder else path.unlink()
    with contextlib.suppress(OSError):  # it is gone, or holds something else
        folder.rmdir()
    return freed


class Guard:
    """A full disk must not cost a result: what cannot be written is left out, which is told once.

    Args:
        note: told the one line.
        without: how the line ends, as in "trials go on without theirs".
    """

    def __init__(self, note: Callable[[str], None], without: str) -> None:
        self._note, self._without = note, without
        self._silent = False

    @contextlib.contextmanager
    def __call__(self, failing: str = "") -> Iterator[None]:
        """Around what writes. failing: how the line begins if the system says no; a TunemaxError says it itself."""
        try:
            yield
        except (OSError, TunemaxError) as error:
            reason = f"{failing} ({error.strerror or error})" if isinstance(error, OSError) else str(error)
            if not self._silent:
                self._note(f"{reason}; {self._without}")
            self._silent = True


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # its owner has just finished
        return time.time()
