"""``tunemax prepare DATASET``: tokens on disk, ready to be trained on."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tunemax.search.cli.parser import add_command

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands

LEAK = 0.005  # of a slice: less of it in train is of no weight


def register(commands: Subcommands) -> None:
    parser = add_command(commands, "prepare", "tokenize a dataset once, for all trainings on this machine", run)
    parser.add_argument(
        "dataset", metavar="DATASET", help="python_stdlib, shakespeare_char, or the path of a text file or folder"
    )


def run(arguments: argparse.Namespace) -> None:
    """Prepare it if need be; its folder goes to stdout, what is in it and what was left out to stderr."""
    from tunemax.gpt.data import load, prepare
    from tunemax.search.views.writers.terminal import hanging

    folder = prepare(arguments.dataset)
    corpus = load(folder)
    manifest, leaks = corpus.manifest, corpus.leaks()
    counts = ", ".join(f"{part} {count:,}" for part, count in manifest.token_counts.items())
    vocabulary = f"vocabulary {manifest.vocab_size} ({manifest.tokenizer})"
    print(hanging(f"{manifest.name}: ", f"tokens: {counts}; {vocabulary}"), file=sys.stderr)
    if manifest.left_out:
        print(hanging(f"{manifest.name}: ", f"left out: {manifest.left_out}"), file=sys.stderr)
    told = ", ".join(f"{part} {100 * leak:.2f} %" for part, leak in leaks.items())
    remedy = "; what can be looked up is not predicted: leave repeated text out" if max(leaks.values()) > LEAK else ""
    spans = f"64-byte spans of each slice that stand in train, too: {told}{remedy}"
    print(hanging(f"{manifest.name}: ", spans), file=sys.stderr)
    print(folder)
