"""The commands, and the one place where an error becomes a line for the user.

Nothing heavy is imported before a command runs, so that ``tunemax --help`` answers at once. A command is a module of
this package with a `register(commands)` that adds its parser; the parser's default ``run`` takes the parsed arguments.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.progress import watched
from tunemax.gpt.visible import screened
from tunemax.search.cli import (
    browse,
    clean,
    compare,
    completion,
    dashboard,
    doctor,
    fields,
    judge,
    plugin,
    prepare,
    report,
    rl,
    sample,
    study,
    train,
    variants,
    worker,
)
from tunemax.search.cli.parser import Parser
from tunemax.search.cli.progress import Progress
from tunemax.search.storage.secrets import redacted

COMMANDS = (
    study,
    worker,
    report,
    dashboard,
    train,
    sample,
    judge,
    compare,
    browse,
    rl,
    prepare,
    fields,
    variants,
    plugin,
    doctor,
    clean,
    completion,
)


def carry_out(given: Sequence[str], *, alone: bool) -> int:
    """Run the command that some words ask for. alone: in a process of its own.

    Returns the exit status, as `main` does. Raises KeyboardInterrupt, with what is kept and how to go on if there is
    something to say of it.
    """
    _reopen()
    with screened():
        return _run(given, alone)


def _reopen() -> None:
    """Standard streams that were closed (``>&-``) lead nowhere: the next file that is opened would take their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _run(given: Sequence[str], alone: bool) -> int:
    if alone:
        # Nobody, no child and no library's child, looks for modules in the working directory
        os.environ["PYTHONSAFEPATH"] = "1"
        sys.path[:] = filter(None, sys.path)
    hiding = [*given, os.environ.get("TUNEMAX_STORAGE", "")]  # passwords, also of a URL where none is expected
    try:
        if zero := next((word for word in given if "\0" in word), None):
            raise TunemaxError(f"{zero}: has a zero byte, which no file and no name has")
        plugin.load_named(given)
        arguments = build().parse_args(given)
        status: int | None = _watched(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more when it ends
        return 141
    except (TunemaxError, OSError, MemoryError, RuntimeError) as error:
        if not isinstance(error, (TunemaxError, OSError)) and not _is_of_memory(error):
            raise
        if "--debug" in given:
            print(redacted("".join(traceback.format_exception(error)), hiding), end="", file=sys.stderr)
        print(f"tunemax: {' '.join(redacted(_line(error), hiding).splitlines())}", file=sys.stderr)
        return 2
    return status or 0


def _watched(arguments: argparse.Namespace) -> int | None:
    """Run a command, and show how far it is where it says so. Returns its exit status, if it has one."""
    progress = Progress()
    try:
        with watched(progress):
            status: int | None = arguments.run(arguments)
            return status
    finally:
        progress.close()


def build() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(prog="tunemax", description="Hyperparameter search for GPTs whose attention softmax is replaced.")
    parser.set_defaults(root=parser)
    parser.add_argument("--version", action=_Version, help="print the version and stop")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.register(commands)
    return parser


def _is_of_memory(error: Exception) -> bool:
    """Whether memory has run out, as Python, torch on a CPU and torch on a GPU say it."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)


def _line(error: Exception) -> str:
    if _is_of_memory(error):
        return "memory: not enough for this; make the model, the batch or the context smaller, or free some"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"tunemax {version('tunemax')}")
        parser.exit()
