"""``tunemax sample``: what a run, a checkpoint or a trial writes."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.paths import path_typed
from tunemax.search.cli.common import count_flag, number, print_json, storage_flag, whole
from tunemax.search.cli.parser import add_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunemax.search.cli.parser import Parser, Subcommands
    from tunemax.search.results.texts import Writer

LENGTH = 200


def register(commands: Subcommands) -> None:
    add_command(commands, "sample", "let a trained model go on with a text", run, fill=_fill)


def _fill(parser: Parser) -> None:
    from tunemax.search.results.texts import BOLDNESS

    parser.add_argument(
        "what",
        metavar="RUN|TRIAL",
        help="a run's folder, a checkpoint, or a question or a study, for its best trial; with #N for trial N",
    )
    parser.add_argument(
        "prompt",
        nargs="?",
        metavar="PROMPT",
        help="what it goes on from; - reads it from standard input (default: the beginning of the validation text)",
    )
    parser.add_argument("--prompt-file", type=path_typed, metavar="FILE", help="take the prompt from a file")
    count_flag(parser, "--length", f"tokens to write (default: {LENGTH})", default=LENGTH)
    count_flag(parser, "--count", "continuations, one beside the other (default: 1)", default=1)
    choosing = parser.add_argument_group("how tokens are chosen")
    for flag, default, help in (
        ("--temperature", BOLDNESS, "below 1 takes what is likely more often, 0 always the likeliest"),
        ("--top-p", 1.0, "only from the likeliest tokens that together have this share"),
        ("--min-p", 0.0, "only from tokens at least this share as likely as the likeliest"),
        ("--repetition-penalty", 1.0, "divides the logits of tokens that it sees already"),
    ):
        text = f"{help} (default: {default:g})"
        choosing.add_argument(flag, type=number(flag), default=default, metavar="X", help=text)
    count_flag(choosing, "--top-k", "only from the K likeliest tokens", metavar="K")
    choosing.add_argument(
        "--seed", type=whole("--seed", 0), default=0, metavar="N", help="the same writes the same (default: 0)"
    )
    storage_flag(parser, as_json=True)


def run(arguments: argparse.Namespace) -> None:
    """Write as tokens are drawn; what is known of it goes to standard error."""
    from tunemax.gpt.sample import Choice
    from tunemax.search.cli.train import note
    from tunemax.search.results.texts import Writer
    from tunemax.search.results.trained import find

    found = find(arguments.what, arguments.storage)
    writer = Writer.of(found, _prompt(arguments))
    if writer.unseen:
        seen = writer.trainer.model.block_size
        note(f"the prompt has {len(writer.prompt):,} tokens, of which {found.name} sees the last {seen:,}")
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    choice = Choice(**{name: getattr(arguments, name) for name in names})
    begun = time.perf_counter()
    pieces = writer.written(arguments.length, choice, arguments.count, arguments.seed)
    texts = ["".join(parts) for parts in zip(*(pieces if arguments.json else _shown(writer, pieces)), strict=True)]
    seconds = time.perf_counter() - begun
    speed = arguments.length * arguments.count / seconds
    if arguments.json:
        print_json({"name": found.name, "prompt": writer.given, "texts": texts, "tokens_per_s": speed})
        return
    for place, text in enumerate(texts[1:], 2):
        print(f"---- {place} of {len(texts)}\n{writer.given}{text}")
    sys.stdout.flush()
    note(f"{found.name}: {arguments.length * arguments.count:,} tokens in {seconds:.2f} s, {speed:,.0f} tokens/s")


def _shown(writer: Writer, pieces: Iterator[list[str]]) -> Iterator[list[str]]:
    """The pieces, of which the first continuation is printed as it comes."""
    first = True
    for piece in pieces:
        if first:  # not earlier: what is refused is refused before anything is printed
            print(f"---- 1 of {len(piece)}\n" if len(piece) > 1 else "", writer.given, sep="", end="")
        first = False
        print(piece[0], end="", flush=True)
        yield piece
    print()


def _prompt(arguments: argparse.Namespace) -> bytes | None:
    """The prompt as it was given. Raises TunemaxError for two, and for a file that cannot be read."""
    if arguments.prompt_file is not None and arguments.prompt is not None:
        raise TunemaxError("PROMPT and --prompt-file both say what to go on from; give one of them")
    if arguments.prompt_file is not None:
        try:
            return bytes(arguments.prompt_file.read_bytes())
        except OSError as error:
            raise TunemaxError(f"--prompt-file {arguments.prompt_file}: {error.strerror}") from error
    if arguments.prompt == "-":
        return sys.stdin.buffer.read()
    return None if arguments.prompt is None else os.fsencode(arguments.prompt)
