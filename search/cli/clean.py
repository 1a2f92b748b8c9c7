"""``tunemax clean``: what lies on the disk, the largest first; and how to be rid of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli.common import all_meant, print_json, storage_flag
from tunemax.search.cli.parser import add_command

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands

WHAT = ["data", "compiled", "weights", "rows", "runs"]
BY_NAME = ("weights", "rows", "runs")
"""What is gone for good."""


def register(commands: Subcommands) -> None:
    parser = add_command(commands, "clean", "list what lies on the disk, and free what is named", run)
    parser.add_argument(
        "what", nargs="?", choices=WHAT, metavar="|".join(WHAT), help="what to free; else all is listed"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these; weights, rows and runs by name only")
    parser.add_argument("--yes", action="store_true", help="do it; else it is only said what would be freed")
    storage_flag(parser, as_json=True)


def run(arguments: argparse.Namespace) -> None:
    """List, or free."""
    from pathlib import Path

    from tunemax.search.machine.disk import KINDS, chosen, kept
    from tunemax.search.views.writers.terminal import hanging, side_by_side

    named = arguments.storage is not None
    found = kept([place for place in all_meant(arguments) if named or "://" in place or Path(place).exists()])
    if not arguments.what:
        rows = [
            {"what": each.kind, "name": each.name, "bytes": each.size, "folder": str(each.folder)} for each in found
        ]
        if arguments.json:
            print_json(rows)
            return
        for each in found:
            print(side_by_side(f"{_shown(each.size):>9}", f"{each.kind:8}", each.name, f"({each.folder})"))
        for kind in dict.fromkeys(each.kind for each in found):
            print(hanging(f"{kind}: ", f"{KINDS[kind]}; tunemax clean {kind}{' NAME' * (kind in BY_NAME)} --yes"))
        print(f"{_shown(sum(each.size for each in found))} in all" if found else "nothing to free")
        return
    if arguments.what in BY_NAME and not arguments.names:
        others = "; another database may have them" if arguments.what == "runs" else ", since they are gone for good"
        raise TunemaxError(f"clean {arguments.what}: name the questions, as tunemax clean lists them{others}")
    freeing = chosen(found, arguments.what, arguments.names)
    total = _shown(sum(each.size for each in freeing))
    if not arguments.yes:
        names = ", ".join(each.name for each in freeing) or "nothing"
        raise TunemaxError(f"clean {arguments.what}: this would free {total} ({names}); add --yes if you mean it")
    print(f"freed {_shown(sum(each.free() for each in freeing))}")


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
