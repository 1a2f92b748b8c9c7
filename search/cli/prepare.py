"""``tunemax prepare DATASET``: tokens on disk, ready to be trained on."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tunemax.search.cli.parser import add_command

if TYPE_CHECKING:
    from tunemax.gpt.data import Corpus
    from tunemax.gpt.fields import FieldSpec
    from tunemax.search.cli.parser import Parser, Subcommands

LEAK = 0.005  # of a slice: less of it in train is of no weight


def register(commands: Subcommands) -> None:
    add_command(commands, "prepare", "tokenize a dataset once, for all trainings on this machine", run, fill=_fill)


def _fill(parser: Parser) -> None:
    from tunemax.search.cli.flags import add_all_flags

    specs = _specs()
    parser.add_argument("dataset", metavar="DATASET", help=specs.pop(0).help)
    parser.add_argument("--skipped", action="store_true", help="name what was skipped, one a line, with the reason")
    add_all_flags(parser, specs)


def _specs() -> list[FieldSpec]:
    from tunemax.gpt.config import all_specs
    from tunemax.gpt.text_config import Text

    return [all_specs()[name] for name in Text.model_fields]


def run(arguments: argparse.Namespace) -> None:
    """Prepare it if need be; its folder goes to stdout, what is in it and what was left out to stderr."""
    from tunemax.gpt.config import Config
    from tunemax.gpt.data import load, prepare, skipped_of
    from tunemax.search.cli.flags import config_from
    from tunemax.search.views.writers.terminal import hanging

    given = config_from(arguments)
    config = Config.of({"dataset": arguments.dataset, **given})
    config.check_meant(given)
    text = config.train.text
    folder = prepare(text)
    corpus, skipped = load(folder), skipped_of(text)
    if arguments.skipped:
        for reason, name in skipped.named:
            print(f"{reason}: {name}", file=sys.stderr)
        if (more := skipped.counts.total() - len(skipped.named)) > 0:
            print(f"and {more:,} more", file=sys.stderr)
    whole = "" if arguments.skipped else "; --skipped names them"
    told = [f"skipped: {skipped}{whole}"] if skipped.counts else []
    for sentence in [*_held(corpus), *told, _leaks(corpus)]:
        print(hanging(f"{corpus.manifest.name}: ", sentence), file=sys.stderr)
    print(folder)


def _held(corpus: Corpus) -> list[str]:
    """What there is, and what was cut out of it."""
    manifest = corpus.manifest
    counts = ", ".join(f"{part} {count:,}" for part, count in manifest.token_counts.items())
    size = sum(manifest.byte_counts.values()) / sum(manifest.token_counts.values())
    told = [f"tokens: {counts}; vocabulary {manifest.vocab_size} ({manifest.tokenizer})"]
    if manifest.tokenizer != "byte":
        told[0] += f", {size:.3f} bytes a token"
    if corpus.documents:
        documents = ", ".join(f"{part} {count:,}" for part, count in corpus.documents.items())
        told.append(f"documents, which are kept apart: {documents}")
    if manifest.left_out:
        told.append(f"left out: {manifest.left_out}")
    return told


def _leaks(corpus: Corpus) -> str:
    leaks = corpus.leaks()
    told = ", ".join(f"{part} {100 * leak:.2f} %" for part, leak in leaks.items())
    remedy = "; what can be looked up is not predicted: leave repeated text out" if max(leaks.values()) > LEAK else ""
    return f"64-byte spans of each slice that stand in train, too: {told}{remedy}"
