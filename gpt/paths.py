"""Paths that are made of names: each lies in the folder that it was made for, whoever has chosen the name."""

from __future__ import annotations

import os
from pathlib import Path

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.visible import steering, visible

LONGEST = 255
"""Bytes of a part that every usual file system takes."""

KEPT = "weights-*.safetensors"
"""Pattern of weights that stay of a training on its way: see the field `keep_every`."""


class Misnamed(TunemaxError):
    """A name that can be no file's in the folder that it is meant for."""


def caches() -> Path:
    """Where this user keeps what can be made again: ``tunemax`` in XDG_CACHE_HOME, else in ``~/.cache``."""
    named = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return inside(named if named.is_absolute() else Path(os.path.expanduser("~/.cache")), "tunemax")


def path_typed(text: str) -> Path:
    """The path that somebody has typed, ``~`` being his home. Raises TunemaxError for the home of nobody."""
    path = os.path.expanduser(text)
    if path.startswith("~"):
        user = path.partition("/")[0]
        raise TunemaxError(f"{visible(text)}: no user has the home {visible(user)}; what is called so here is ./{user}")
    return Path(path)


def inside(root: Path, *names: str) -> Path:
    """The path of names in a folder; a ``/`` in a name parts levels, as in the name of a study.

    Raises Misnamed for a name that leads out of the folder, or could be no file's everywhere; TunemaxError for one that
    leads out by a link that lies there. What the path leads to need not exist.
    """
    path = os.fspath(root)  # as text: this is done at every evaluation, and objects take ten times as long
    for name in names:
        for part in name.split("/"):
            if fault := "it begins with /" if name.startswith("/") else _fault(part):
                raise Misnamed(f"{_quoted(name)}: names no file in {visible(str(root))} ({fault})")
            path = os.path.join(path, part)
            if os.path.islink(path) and not lies_in(root, Path(path)):
                raise TunemaxError(f"{visible(path)}: a link that leads out of {visible(str(root))}; remove it")
    return Path(path)


def kept(folder: Path, iteration: int) -> Path:
    """Where weights of an iteration stay."""
    return inside(folder, KEPT.replace("*", f"{iteration:08}"))


def lies_in(root: Path, path: Path) -> bool:
    """Whether a path, wherever its links lead, is one in a folder."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # it leads to itself, or no file could be called so
        return False


def _fault(part: str) -> str | None:
    """Why a part of a name cannot be a file's; None if it can."""
    if part in ("", ".", ".."):
        return f"a part of it is {part!r}" if part else "a part of it is empty"
    if "\\" in part:
        return "there is a backslash in it"
    if any(mark in part for mark in "\n\t") or steering(part):
        return "there is a control character in it"
    if len(part.encode()) > LONGEST:
        return f"it is longer than {LONGEST} bytes"
    return None


def _quoted(name: str) -> str:
    """A name in one line, cut when long."""
    text = " ".join(visible(name).split())
    return text if len(text) <= 60 else text[:57] + "..."
