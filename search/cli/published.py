"""``tunemax rl agents`` and ``tunemax rl publish``: agents that come with tunemax, and how one is made."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.paths import path_typed
from tunemax.search.cli.common import print_json
from tunemax.search.cli.parser import add_command

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands


def register(actions: Subcommands) -> None:
    parser = add_command(actions, "agents", "list the agents that come with tunemax, by their cards", agents)
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")

    parser = add_command(actions, "publish", "make a small agent and its card of the folder of a training", make)
    parser.add_argument("folder", type=path_typed, metavar="DIR", help="folder of a finished training")
    parser.add_argument("--name", required=True, metavar="NAME", help="how it is called")
    parser.add_argument(
        "--verdict",
        type=path_typed,
        metavar="FILE",
        help="what rl evaluate --json has printed, for seeds, score and sentences",
    )
    parser.add_argument(
        "--out",
        type=path_typed,
        default=".",
        metavar="DIR",
        help="where NAME.safetensors and NAME.json go (default: here)",
    )


def agents(arguments: argparse.Namespace) -> None:
    """A row each, and what was said of it."""
    from tunemax.envs.agents.cards import cards
    from tunemax.search.views.document import tabulated
    from tunemax.search.views.rounding import NONE
    from tunemax.search.views.writers.terminal import aligned, wrapped

    found = cards()
    if arguments.json:
        print_json([card.model_dump(mode="json") for card in found])
        return
    if not found:
        print("no agent comes with this version; train one with tunemax rl train")
        return
    heads = ("", "environment", "moves", "algorithm", "score, 95 %", "seeds", "member-steps")
    rows = [
        (
            card.name,
            card.environment.id,
            ", ".join(card.controls),
            card.algorithm,
            f"{card.score.value:.2f} ({card.score.low:.2f} … {card.score.high:.2f})" if card.score else NONE,
            str(len(card.seeds)),
            f"{card.compute.member_steps:,}",
        )
        for card in found
    ]
    print("\n".join(aligned(tabulated(heads, rows, words=heads[:4]))))
    for card in found:
        print()
        for sentence in (f"{card.name} {card.learning.sentence}", *card.verdict):
            print("\n".join(wrapped(sentence)))


def make(arguments: argparse.Namespace) -> None:
    """Write both files."""
    from tunemax.envs.agents.cards import publish

    out = arguments.out
    verdict = _read(arguments.verdict) if arguments.verdict else None
    card = publish(arguments.folder, arguments.name, out, verdict)
    path = out / f"{card.name}.safetensors"
    print(f"{path}: {path.stat().st_size:,} bytes; its card is {out / card.name}.json")


def _read(path: Path) -> Any:
    """A verdict; the first, of several sets. Raises TunemaxError for what is none."""
    import json

    try:
        content = json.loads(path.read_bytes())
        verdict = content[0] if isinstance(content, list) else content
        if isinstance(verdict["lines"], list) and isinstance(verdict["sentences"], list):
            return verdict
    except (OSError, ValueError, LookupError, TypeError):
        pass
    raise TunemaxError(f"{path}: not what tunemax rl evaluate --json prints; give a file of that")
