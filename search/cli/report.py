"""``tunemax report``: a question as a file to read and to pass on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tunemax.gpt.paths import path_typed
from tunemax.search.cli.common import revived, storage_flag
from tunemax.search.cli.parser import add_command

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands


def register(commands: Subcommands) -> None:
    parser = add_command(
        commands, "report", "write a question's report: HTML that works offline, Markdown, CSV", report
    )
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument(
        "--out",
        type=path_typed,
        metavar="FOLDER",
        help="where to (default: report/ in the question's runs)",
    )
    storage_flag(parser)


def report(arguments: argparse.Namespace) -> None:
    from tunemax.search.results.confirmation import tuned
    from tunemax.search.views.report import write

    question = tuned(revived(arguments, arguments.question))
    for path in write(question, arguments.out):
        print(path)
