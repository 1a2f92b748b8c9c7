"""``tunemax browse``: a page of what goes on in trained models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tunemax.gpt.paths import path_typed
from tunemax.search.cli.common import number, storage_flag, whole
from tunemax.search.cli.parser import add_command

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Parser, Subcommands

PAGE = Path("browse.html")


def register(commands: Subcommands) -> None:
    about = "write a page of attention maps, learnables and texts of trained models"
    add_command(commands, "browse", about, run, fill=_fill)


def _fill(parser: Parser) -> None:
    from tunemax.search.results.browsed import SHOWN
    from tunemax.search.results.texts import BOLDNESS

    parser.add_argument(
        "what",
        nargs="*",
        metavar="RUN|TRIAL",
        help="a run's folder, a checkpoint, or a question or a study, for its best trial; with #N for trial N",
    )
    parser.add_argument("--prompt", default="", metavar="TEXT", help="what is read (default: the test slice begins so)")
    parser.add_argument(
        "--tokens",
        type=whole("--tokens", 2, 64),
        default=SHOWN,
        metavar="N",
        help=f"of it whose attention is shown, from 2 to 64 (default: {SHOWN})",
    )
    parser.add_argument(
        "--length", type=whole("--length", 0), default=80, metavar="N", help="tokens that each writes (default: 80)"
    )
    text = f"below 1 takes what is likely more often, 0 always the likeliest (default: {BOLDNESS:g})"
    parser.add_argument("--temperature", type=number("--temperature"), default=BOLDNESS, metavar="X", help=text)
    parser.add_argument(
        "--seed", type=whole("--seed", 0), default=0, metavar="N", help="the same writes the same (default: 0)"
    )
    parser.add_argument(
        "--out", type=path_typed, default=PAGE, metavar="FILE", help=f"where to write the page (default: {PAGE})"
    )
    storage_flag(parser)


def run(arguments: argparse.Namespace) -> None:
    from tunemax.search.results.browsed import Glance, browsed
    from tunemax.search.views.browse import write

    names = ("prompt", "tokens", "length", "temperature", "seed")
    glance = Glance(**{name: getattr(arguments, name) for name in names})
    print(write(browsed(arguments.what, glance, arguments.storage), arguments.out))
