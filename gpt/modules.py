"""Classes that are registered by being defined in a module of some folder; a module that is broken is named."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import traceback
from collections.abc import Iterable
from pathlib import Path

from tunemax.gpt.errors import TunemaxError

BASE = "base.py"
"""Where a folder has its contract: what is raised there is the fault of whoever broke it."""


def load_modules(package: str, folders: Iterable[str]) -> None:
    """Import every module of a package, in the order of their names. Raises TunemaxError for one that cannot be, with
    the line."""
    folders = list(folders)
    for name in sorted(module.name for module in pkgutil.iter_modules(folders)):
        try:
            importlib.import_module(f"{package}.{name}")
        except TunemaxError:
            raise
        except Exception as error:
            raise broken(_place(error, folders), error) from error


def broken(
    place: str, error: BaseException, remedy: str = "mend the file, or move it out of its folder"
) -> TunemaxError:
    """Of a module. place: file and line."""
    what = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return TunemaxError(f"{place}: {type(error).__name__}: {what}; {remedy}")


def place_of(cls: type) -> str:
    """File and line of a class."""
    try:
        return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):  # its source is not there
        return f"{cls.__module__}.{cls.__qualname__}"


def _place(error: Exception, folders: list[str]) -> str:
    """File and line of what is wrong: the innermost of the folders' own, as far as Python tells."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if str(Path(frame.filename).parent) in folders and Path(frame.filename).name not in ("__init__.py", BASE)
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else folders[0]
