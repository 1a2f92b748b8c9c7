"""``tunemax completion SHELL``: what a shell needs to complete commands, flags and choices."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tunemax.search.cli.parser import Parser, add_command

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands

SHELLS = {
    "bash": 'eval "$(tunemax completion bash)"  # in ~/.bashrc',
    "zsh": 'eval "$(tunemax completion zsh)"  # in ~/.zshrc, after compinit',
    "fish": "tunemax completion fish | source  # in ~/.config/fish/config.fish",
}
"""Each with the line that turns it on."""


def register(commands: Subcommands) -> None:
    parser = add_command(commands, "completion", "print what completes commands and flags in a shell", run)
    parser.add_argument("shell", choices=list(SHELLS), metavar="|".join(SHELLS))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["turn it on with", *(f"  {line}" for line in SHELLS.values())])


def run(arguments: argparse.Namespace) -> None:
    """The script of one shell, of all commands with all their flags."""
    import shtab

    _fill(arguments.root)
    print(shtab.complete(arguments.root, arguments.shell))


def _fill(parser: Parser) -> None:
    """Add the flags that are otherwise read when a command is first used, in all commands, and the names of what each
    may be."""
    parser.filled().show_more()
    for action, names in parser.names.items():
        action.choices = names or None
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _fill(command)
