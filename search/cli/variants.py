"""``tunemax variants``: what each softmax variant computes and what that takes; with a name, all about one."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tunemax.search.cli.parser import Parser, add_command

if TYPE_CHECKING:
    from tunemax.gpt.softmax import Variant
    from tunemax.search.cli.parser import Subcommands
    from tunemax.search.views.document import Table

WORK = (
    "What a weight takes at the defaults, beside additions and products: exponentials (and logarithms), divisions (and "
    "roots), reductions of its row (a maximum, a sum), comparisons. x is a logit, Σ the sum over the keys that its row "
    "may attend to, n their number, max the largest of them."
)


def register(commands: Subcommands) -> None:
    add_command(commands, "variants", "list the softmax variants, or say all about one", run, fill)


def fill(parser: Parser) -> None:
    from tunemax.gpt.softmax import variants

    named = parser.add_argument("name", nargs="?", metavar="NAME", help="one of them, or an alias")
    parser.names[named] = list(variants())
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(arguments: argparse.Namespace) -> None:
    """Print the table, or all about one. Raises TunemaxError for a name that none has."""
    from tunemax.gpt.softmax import find_variant
    from tunemax.search.cli.fields import text
    from tunemax.search.views.writers.terminal import annotated, wrapped

    chosen = [find_variant(arguments.name)] if arguments.name else ordered()
    if arguments.json:
        print(json.dumps([record(variant) for variant in chosen], indent=2, ensure_ascii=False))
        return
    if not arguments.name:
        lines = annotated(table(chosen), "a weight", [variant.formula for variant in chosen])
        print("\n".join([*lines, "", *wrapped(WORK)]))
        return
    (variant,) = chosen
    for line in (*described(variant), f"Source: {variant.source}."):
        print("\n".join(wrapped(line)), end="\n\n")
    print(text(list(variant.specs())) if variant.specs() else "No parameters.\n", end="")


def ordered() -> list[type[Variant]]:
    """All of them, those that divide by a sum first, each kind by names."""
    from tunemax.gpt.softmax import variants

    return sorted(variants().values(), key=lambda variant: (kind(variant) != "row", variant.name))


def kind(variant: type[Variant]) -> str:
    """Whether a weight depends on its whole row, or on its logit alone."""
    return "row" if variant.divides_by_sum() else "elementwise"


def table(of: Sequence[type[Variant]]) -> Table[Any]:
    """A row a variant, without its formula."""
    from tunemax.search.views.document import tabulated

    heads = ("variant", "kind", "exp", "div", "red", "cmp")
    counts = (asdict(v.work).values() if v.work else [None] * 4 for v in of)
    return tabulated(heads, [(v.name, kind(v), *count) for v, count in zip(of, counts, strict=True)], ("kind",))


def described(variant: type[Variant]) -> list[str]:
    """Its paragraphs: the formula and what is to be said of it, then its kind, other names and work."""
    facts = ["Of the row." if kind(variant) == "row" else "Elementwise."]
    if variant.aliases:
        facts.append(f"Also called {' and '.join(f'`{alias}`' for alias in variant.aliases)}.")
    if variant.work:
        takes = [f"{count} {name if count > 1 else name[:-1]}" for name, count in asdict(variant.work).items() if count]
        facts.append(f"A weight takes {', '.join(takes)}.")
    if variant.as_output is not None:
        facts.append("It can be the output distribution.")
    paragraphs = inspect.cleandoc(variant.__doc__ or "").split("\n\n")
    return [*(" ".join(paragraph.split()) for paragraph in paragraphs), " ".join(facts)]


def record(variant: type[Variant]) -> dict[str, Any]:
    """All about one, as JSON can hold it."""
    return {
        "name": variant.name,
        "aliases": list(variant.aliases),
        "kind": kind(variant),
        "formula": variant.formula,
        "work": variant.work and asdict(variant.work),
        "output": variant.as_output is not None,
        "source": variant.source,
        "fields": [spec.name for spec in variant.specs()],
    }
