"""How it is called: ``tunemax COMMAND …``, a module each.

`main` is the one place where an error becomes a line for the user.
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
from tunemax.search.cli import completion, dashboard, doctor, fields, prepare, report, rl, study, train
from tunemax.search.cli.parser import Parser

COMMANDS = (study, report, dashboard, train, rl, prepare, fields, doctor, completion)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns the exit status: 0, 2 for what the user can mend, 130 after Ctrl-C, 141 for a closed pipe.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = build().parse_args(given)
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more when it ends
        return 141
    except KeyboardInterrupt as interrupt:
        return _fail(f"interrupted; {interrupt}" if interrupt.args else "interrupted", status=130)
    except (TunemaxError, OSError, MemoryError, RuntimeError) as error:
        if not isinstance(error, (TunemaxError, OSError)) and not _is_of_memory(error):
            raise
        if "--debug" in given:
            traceback.print_exc()
        return _fail(_line(error), status=2)
    return 0


def build() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(prog="tunemax", description="Hyperparameter search for GPTs whose attention softmax is replaced.")
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
    return " ".join(str(error).splitlines())


def _fail(line: str, *, status: int) -> int:
    print(f"tunemax: {line}", file=sys.stderr)
    return status


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"tunemax {version('tunemax')}")
        parser.exit()
