"""``tunemax judge A B``: whether one given configuration is better than another, by as few trainings as that takes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tunemax.search.cli.common import count_flag, print_json, storage_flag
from tunemax.search.cli.parser import add_command

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Parser, Subcommands

OWN = ("a", "b", "seeds", "runs", "member_steps", "margin", "short", "short_only", "workers", "slots", "seconds")


def register(commands: Subcommands) -> None:
    about = "say whether B is better than A, by as few trainings as it takes"
    parser = add_command(commands, "judge", about, run, fill=_fill)
    parser.usage = "%(prog)s A B [--max_iters N] [--seeds N] [--margin SHARE] [--FIELD VALUE ...]"


def _fill(parser: Parser) -> None:
    from tunemax.gpt.config import all_specs
    from tunemax.search.cli.flags import add_field_flags
    from tunemax.search.cli.work import margin, strength_flags
    from tunemax.search.question.judged import SEEDS

    kinds = "a file of fields, a run's folder, a trial, STUDY.yaml/CANDIDATE, or a plug-in, FILE.py[@REVISION]"
    parser.add_argument("a", metavar="A", help=f"what is compared with: {kinds}")
    parser.add_argument("b", metavar="B", help="what is judged")
    until = parser.add_argument_group("until when")
    count_flag(until, "--seeds", f"of each at most (default: {SEEDS})")
    count_flag(until, "--runs", "of both together at most")
    count_flag(until, "--member-steps", "iterations of both together at most")
    until.add_argument(
        "--margin", type=margin, metavar="SHARE", help="a smaller share of the loss is no difference (default: 0.005)"
    )
    short = parser.add_argument_group("cheap first")
    count_flag(short, "--short", "iterations for which both are tried first (default: an eighth of --max_iters)")
    short.add_argument(
        "--short-only", action="store_true", help="judge at that horizon, and say nothing of a longer one"
    )
    strength_flags(parser)
    storage_flag(parser, as_json=True)
    add_field_flags(parser, list(all_specs().values()))


def run(arguments: argparse.Namespace) -> None:
    """Judge, going on with what an earlier command of the same words has trained."""
    from tunemax.search.api import Interrupted, judge, silent
    from tunemax.search.cli.flags import config_from
    from tunemax.search.cli.train import note
    from tunemax.search.views.live.screen import on_screen
    from tunemax.search.views.verdict import told

    given = {name: getattr(arguments, name) for name in OWN}
    a, b = given.pop("a"), given.pop("b")
    fields = config_from(arguments)
    try:
        found = judge(
            a, b, arguments.storage, fields=fields, **given, show=silent if arguments.json else on_screen, note=note
        )
    except Interrupted:
        raise KeyboardInterrupt from None  # the same command goes on
    if arguments.json:
        print_json(found.to_json())
        return
    print(f"\n{told(found)}")
