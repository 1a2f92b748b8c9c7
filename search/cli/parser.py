"""The argument parser of every command: a mistake is one line, and flags may be filled in when they are needed."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from tunemax.gpt.errors import TunemaxError, did_you_mean

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction["Parser"]

_NEGATIVE_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$", re.IGNORECASE)


class Help(argparse.HelpFormatter):
    """As argparse has it, but a switch that has no room for both its forms in a line is written as ``--[no-]name``."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        both = super()._format_action_invocation(action)
        if isinstance(action, argparse.BooleanOptionalAction) and self._current_indent + len(both) > self._width:
            return action.option_strings[0].replace("--", "--[no-]", 1)
        return both


class Parser(argparse.ArgumentParser):
    """As argparse has it, but mistakes are raised as TunemaxError, with the nearest name that exists.

    fill: adds the arguments when the command is first used, for those whose reading is slow.
    spellings: other ways to write a flag, each with the flag that it stands for.
    more: what `--help` leaves out and `--help-all` shows: each argument with its help.
    names: what an argument may be, of those that others check.
    """

    def __init__(self, *, fill: Callable[[Parser], None] | None = None, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=Help, **kwargs)
        self.fill = fill
        self.spellings: dict[str, str] = {}
        self.more: dict[argparse.Action, str] = {}
        self.names: dict[argparse.Action, Sequence[str]] = {}
        self._negative_number_matcher = _NEGATIVE_NUMBER  # argparse's own knows no exponents
        self.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
        )
        self.add_argument(
            "--plugin",
            action="append",
            default=argparse.SUPPRESS,
            metavar="FILE|MODULE",
            help="a plug-in whose parts are known then, too; may be repeated",
        )

    # argparse calls this for every sub-command too, and leaves what it does not know to the parser above, which cannot
    # help.
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.filled()
        parsed, unknown = super().parse_known_args([self._spelt(word) for word in args or ()], namespace)
        late = self._late(parsed)
        if len(unknown) == 1 and late and (unknown[0] == "-" or not unknown[0].startswith("-")):
            setattr(parsed, late.dest, self._get_values(late, unknown))
        elif unknown:
            self._refuse(unknown[0])
        return parsed, []

    def _late(self, parsed: argparse.Namespace) -> argparse.Action | None:
        """An argument that may be left out, and was: argparse gives it up at the first flag, and it may come behind."""
        optional = [each for each in self._get_positional_actions() if each.nargs == argparse.OPTIONAL]
        return next((each for each in optional if getattr(parsed, each.dest, None) is each.default), None)

    def filled(self) -> Parser:
        """The parser with all its arguments."""
        if self.fill:
            fill, self.fill = self.fill, None
            fill(self)
        return self

    def show_more(self) -> None:
        """Let help show every argument from now on."""
        for action, text in self.more.items():
            action.help = text

    def error(self, message: str) -> NoReturn:
        raise TunemaxError(f"{message.removeprefix('argument ')}; see `{self.prog} --help`")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            kind = "command" if isinstance(action, argparse._SubParsersAction) else "value"
            raise TunemaxError(f"{value}: no such {kind}{did_you_mean(str(value), map(str, action.choices))}")

    def _spelt(self, word: str) -> str:
        flag, equals, value = word.partition("=")
        return self.spellings.get(flag, flag) + equals + value

    def _refuse(self, word: str) -> NoReturn:
        flag = word.partition("=")[0]
        if not flag.startswith("-"):
            raise TunemaxError(f"{word}: nothing more was expected; see `{self.prog} --help`")
        near = did_you_mean(flag.replace("-", "_").replace("__", "--", 1), self._option_string_actions)
        raise TunemaxError(
            f"{flag}: no such flag" + (near if "did you mean" in near else f"; see `{self.prog} --help`")
        )


class HelpAll(argparse.Action):
    """``--help-all``: as ``--help``, with what that leaves out."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        assert isinstance(parser, Parser)
        parser.show_more()
        parser.print_help()
        parser.exit()


def add_command(
    commands: Subcommands,
    name: str,
    help: str,
    run: Callable[[argparse.Namespace], int | None],
    fill: Callable[[Parser], None] | None = None,
) -> Parser:
    """A parser for one command, which `run` carries out: it returns an exit status, or nothing if that is 0."""
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", fill=fill)
    parser.set_defaults(run=run)
    return parser
