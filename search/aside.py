"""A measurement in a process of its own, which is set up as a worker is and leaves nothing behind."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from gpt import hardware
from gpt.errors import TunemaxError
from search import crew

T = TypeVar("T")


def aside(function: Callable[..., T], *arguments: Any, route: hardware.Route) -> T | None:
    """What a function of a module returns there; None if the process dies of it. Raises TunemaxError if it does."""
    crew.warm()
    ours, theirs = crew.FORKING.Pipe()
    process = crew.begin(_answer, theirs, function, arguments, route)
    try:
        theirs.close()
        answered: T | TunemaxError | None = ours.recv()
    except (EOFError, OSError):
        answered = None
    finally:  # it has answered; or this process is interrupted, and that one deaf to it
        process.kill()
        process.join()
    if isinstance(answered, TunemaxError):
        raise answered
    return answered


def _answer(link: Connection, function: Callable[..., Any], arguments: tuple[Any, ...], route: hardware.Route) -> None:
    """The body of the process."""
    for name in crew.LOADED:  # what a worker loads takes memory too
        importlib.import_module(name)
    crew.tune(route, threads=1)
    with contextlib.suppress(OSError):  # nobody waits any more
        try:
            link.send(function(*arguments))
        except TunemaxError as error:
            link.send(error)
        except (MemoryError, RuntimeError):  # as torch says that memory is short; no answer says it here
            link.close()
