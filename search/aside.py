"""A measurement in a process of its own, which is set up as a worker is and leaves nothing behind."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from gpt import hardware
from gpt.errors import TunemaxError
from search.crew import LOADED

T = TypeVar("T")


def aside(function: Callable[..., T], *arguments: Any, route: hardware.Route) -> T | None:
    """What a function of a module returns there; None if the process dies of it. Raises TunemaxError if it does."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, function, arguments, route), daemon=True)
    with hardware.large_pages():
        process.start()
    theirs.close()
    try:
        answered: T | TunemaxError | None = ours.recv()
    except EOFError:
        answered = None
    process.join()
    if isinstance(answered, TunemaxError):
        raise answered
    return answered


def _answer(link: Connection, function: Callable[..., Any], arguments: tuple[Any, ...], route: hardware.Route) -> None:
    """The body of the process."""
    import torch

    for name in LOADED:  # what a worker loads takes memory too
        importlib.import_module(name)
    hardware.keep_memory()
    hardware.take(route)
    torch.set_num_threads(1)
    try:
        link.send(function(*arguments))
    except TunemaxError as error:
        link.send(error)
    except (MemoryError, RuntimeError):  # as torch says that memory is short; no answer says it here
        link.close()
