"""Whose a file is: what somebody else could have written is neither loaded nor believed."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
from functools import lru_cache
from pathlib import Path

from tunemax.gpt.paths import caches, inside

LINKS = 40
"""Links on a path, as the system allows them."""


def fault(path: Path) -> str | None:
    """Why others than this user and root could write what is at a path, or put something else there; None if nobody
    could.

    All folders above it count, and those above what links on the way lead to. In a sticky folder, such as /tmp, what is
    there is its owner's only. What is not there yet is judged by its folders. Access control lists are not looked at.
    """
    paths, seen, links = [Path(os.path.abspath(path))], set[Path](), 0
    while paths:
        place = paths.pop()
        for part in reversed((place, *place.parents)):
            if part in seen:
                continue
            seen.add(part)
            try:
                found = part.lstat()
            except (FileNotFoundError, NotADirectoryError):
                break
            except OSError as error:
                return f"{part} cannot be looked at ({error.strerror})"
            if found.st_uid not in (0, os.geteuid()):
                return f"{part} belongs to another user"
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if links > LINKS:
                    return f"{part} is one of too many links"
                paths.append(part.parent / part.readlink())
            elif _others_write(found):
                return f"{part} can be written by other users"
    return None


def own_folder(wished: Path) -> Path:
    """The folder if this user alone, or root, can write there, else one of its name among this user's caches, which is
    told once."""
    reason = fault(wished)
    if reason is None:
        return wished
    own = inside(caches(), wished.name.lstrip("."))
    _tell(f"{reason}, so {own} is used instead of {wished}")
    return own


def make_private(folder: Path) -> None:
    """Make a folder, and those above it, for this user alone. What is there stays as it is. Raises OSError."""
    for part in reversed((folder, *folder.parents)):
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)


@lru_cache
def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _others_write(found: os.stat_result) -> bool:
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return False
    by_group = found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid)
    return bool(found.st_mode & stat.S_IWOTH or by_group)


@lru_cache
def _is_private(group: int) -> bool:
    """Whether a group has this user alone, as many systems give everybody one of the same name."""
    try:
        user, entry = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return entry.gr_name == user.pw_name and set(entry.gr_mem) <= {user.pw_name}
