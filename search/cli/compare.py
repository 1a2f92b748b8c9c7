"""``tunemax compare``: models side by side, whoever has trained them."""

from __future__ import annotations

import argparse
import math
import os
import sys
from typing import TYPE_CHECKING

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.paths import path_typed
from tunemax.search.cli.common import count_flag, number, print_json, storage_flag, whole
from tunemax.search.cli.parser import add_command

if TYPE_CHECKING:
    from tunemax.search.charts.models import Shown
    from tunemax.search.cli.parser import Parser, Subcommands

LOGS = ("", "x", "y", "xy")


def register(commands: Subcommands) -> None:
    add_command(commands, "compare", "compare trained models: what they know, how they came there", run, fill=_fill)


def _fill(parser: Parser) -> None:
    from tunemax.search.charts.models import ACROSS
    from tunemax.search.results.beside import EXAMPLES, TOKENS, WRITTEN
    from tunemax.search.results.texts import BOLDNESS

    parser.add_argument(
        "what",
        nargs="*",
        metavar="RUN|TRIAL",
        help="two or more: a run's folder, a checkpoint, a study for its best trial, with #N for trial N, "
        "question.confirmed/candidate for all its seeds",
    )
    read = parser.add_argument_group("what is read")
    read.add_argument("--slice", default="test", metavar="SLICE", help="tuning, confirmation or test (default: test)")
    read.add_argument(
        "--tokens",
        type=whole("--tokens", 0),
        default=TOKENS,
        metavar="N",
        help=f"bytes of it; 0 reads all (default: {TOKENS}, or all of a shorter one)",
    )
    read.add_argument("--dataset", metavar="DATA", help="another text, for all (default: their own)")
    count_flag(read, "--k", "top-k accuracy (default: 5)", metavar="K", default=5)
    whole_examples = whole("--examples", 0)
    read.add_argument(
        "--examples",
        type=whole_examples,
        default=EXAMPLES,
        metavar="N",
        help=f"tokens that one knows and another does not, of either side (default: {EXAMPLES})",
    )
    curves = parser.add_argument_group("curves")
    curves.add_argument(
        "--curve",
        action="append",
        default=[],
        metavar="QUANTITY",
        help="a quantity that was logged, such as train_loss or beta; may be repeated (default: loss/validation)",
    )
    across = ", ".join(ACROSS)
    curves.add_argument("--over", default="step", metavar="X", help=f"{across} (default: step)")
    curves.add_argument("--log", default="", metavar="AXES", help="x, y or xy: logarithmic axes")
    curves.add_argument(
        "--trim", metavar="FROM:TO", help="show this part of what they lie over; either may be left out"
    )
    writing = parser.add_argument_group("what they write")
    writing.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="TEXT",
        help="what they go on from; may be repeated (default: the beginning of the slice)",
    )
    writing.add_argument(
        "--length", type=whole("--length", 0), default=WRITTEN, metavar="N", help=f"tokens (default: {WRITTEN})"
    )
    text = f"below 1 takes what is likely more often, 0 always the likeliest (default: {BOLDNESS:g})"
    writing.add_argument("--temperature", type=number("--temperature"), default=BOLDNESS, metavar="X", help=text)
    writing.add_argument(
        "--seed", type=whole("--seed", 0), default=0, metavar="N", help="the same writes the same (default: 0)"
    )
    parser.add_argument(
        "--out", type=path_typed, metavar="FOLDER", help="write compare.html there, and each picture as SVG and PNG"
    )
    storage_flag(parser, as_json=True)


def run(arguments: argparse.Namespace) -> None:
    shown = _shown(arguments)
    from tunemax.search.charts.models import drawn
    from tunemax.search.results.beside import Asked, beside
    from tunemax.search.views.models import answer, to_json

    asked = Asked(
        part=arguments.slice,
        tokens=arguments.tokens,
        k=arguments.k,
        dataset=arguments.dataset,
        prompts=tuple(map(os.fsencode, arguments.prompt)),
        length=arguments.length,
        temperature=arguments.temperature,
        seed=arguments.seed,
        examples=arguments.examples,
    )
    found = beside(arguments.what, asked, arguments.storage)
    pictures = drawn(found, arguments.curve, shown)
    if arguments.out is not None:
        from tunemax.search.views.pages import write

        for path in write(found, pictures, arguments.out):
            print(path, file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print_json(to_json(found))
    else:
        print(answer(found, pictures))


def _shown(arguments: argparse.Namespace) -> Shown:
    """How curves are drawn. Raises TunemaxError for what no axis is."""
    from tunemax.search.charts.models import ACROSS, Shown

    if arguments.over not in ACROSS:
        raise TunemaxError(
            f"--over = {arguments.over}: curves do not lie over this{did_you_mean(arguments.over, ACROSS)}"
        )
    if arguments.log not in LOGS:
        raise TunemaxError(f"--log = {arguments.log}: expected x, y or xy, the axes that are logarithmic")
    begin, end = _trim(arguments.trim)
    return Shown(arguments.over, arguments.log, begin, end)


def _trim(given: str | None) -> tuple[float | None, float | None]:
    if given is None:
        return None, None
    words = given.split(":")
    try:
        ends = [float(word) if word else None for word in words]
    except ValueError:
        ends = []
    finite = all(end is None or math.isfinite(end) for end in ends)
    if len(ends) != 2 or not finite or (None not in ends and ends[0] >= ends[1]):  # type: ignore[operator]
        raise TunemaxError(
            f"--trim = {given}: expected FROM:TO, such as 100: or 100:2000, the first one below the other"
        )
    return ends[0], ends[1]
