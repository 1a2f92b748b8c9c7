"""A flag for every field: ``--n_layer 4``, ``--constantmax.gamma 80``, ``--no-bias``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from tunemax.gpt.fields import Condition, FieldSpec, shown, shown_condition
from tunemax.gpt.softmax import variants
from tunemax.search.cli.parser import HelpAll, Parser

SHORT = (
    *("softmax_variant", "dataset", "tokenizer", "n_layer", "n_head", "n_embd", "block_size", "batch_size"),
    *("max_iters", "learning_rate", "seed", "device", "compile", "out_dir"),
)
"""The fields that a short help shows: what most runs change."""
_DEST = "field "  # before a field's name in the parsed arguments, so that no field can meet another argument


def add_field_flags(parser: Parser, specs: Sequence[FieldSpec]) -> None:
    """One flag a field, in an argument group for each section of fields; the help shows those of SHORT, and
    ``--help-all`` every one.

    Values stay text, which `Config.of` checks. Dashes for underscores and a variant's aliases are understood too.
    """
    parser.add_argument("--help-all", action=HelpAll, help=f"show all {len(specs)} fields, with their conditions")
    add_all_flags(parser, specs, SHORT)


def add_all_flags(parser: Parser, specs: Sequence[FieldSpec], short: Sequence[str] | None = None) -> None:
    """The flags alone. short: those that a short help shows; by default all."""
    for title, members in sections(specs):
        group = parser.add_argument_group(title)
        for spec in members:
            flag, help = f"--{spec.name}", explained(spec).replace("%", "%%")
            kind = (
                {"action": argparse.BooleanOptionalAction} if spec.annotation is bool else {"metavar": _metavar(spec)}
            )
            action = group.add_argument(flag, dest=_DEST + spec.name, default=argparse.SUPPRESS, help=help, **kind)
            if known := spec.options or spec.names:
                parser.names[action] = [shown(name) for name in known if spec.annotation is not bool]
            if short is not None and spec.name not in short:
                parser.more[action], action.help = help, argparse.SUPPRESS
            for name in _spellings(spec.name):
                parser.spellings |= {f"--{name}": flag, f"--no-{name}": f"--no-{spec.name}"}


def sections(specs: Iterable[FieldSpec]) -> list[tuple[str, list[FieldSpec]]]:
    """The fields under their headings: a group's own fields, and each variant's by itself."""
    found: dict[str, list[FieldSpec]] = {}
    for spec in specs:
        owner = spec.name.rpartition(".")[0]
        aliases = ", ".join(_aliases(owner))
        title = f"{owner} (alias {aliases})" if aliases else owner or spec.group
        found.setdefault(title, []).append(spec)
    return list(found.items())


def config_from(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flat fields that were given on the command line, with their values as they were typed."""
    return {key.removeprefix(_DEST): value for key, value in vars(arguments).items() if key.startswith(_DEST)}


def explained(spec: FieldSpec) -> str:
    """``transformer blocks (default 4; a whole number ≥ 1)``, and the condition if there is one."""
    facts = [f"default {shown(spec.default) or 'empty'}", spec.valid()]
    if meaning := condition(spec):
        facts.append(f"only with {meaning}")
    return f"{spec.help} ({'; '.join(facts)})"


def condition(spec: FieldSpec) -> str:
    """When the field means anything: ``schedule = cosine or wsd and …``; empty for always."""

    def words(condition: Condition) -> list[str]:
        return [shown_condition(name, allowed) for name, allowed in condition.items()]

    either = " or ".join(" and ".join(words(alternative)) for alternative in spec.any_of)
    if len(spec.any_of) > 1 and spec.when:
        either = f"({either})"
    return " and ".join([*words(spec.when), *([either] if either else [])])


def _metavar(spec: FieldSpec) -> str:
    if len(spec.options) in (2, 3):
        return "{" + ",".join(shown(option) for option in spec.options) + "}"
    return {int: "N", float: "X"}.get(spec.annotation, "NAME" if spec.options or spec.names else "TEXT")


def _spellings(name: str) -> set[str]:
    group, _, field = name.rpartition(".")
    names = {name, *(f"{alias}.{field}" for alias in _aliases(group))}
    return names | {other.replace("_", "-") for other in names}


def _aliases(group: str) -> list[str]:
    """Other names of a group of a variant's fields, where it replaces attention's softmax or the output's."""
    place, dot, variant = group.rpartition(".")
    return [f"{place}{dot}{alias}" for alias in variants()[variant].aliases] if variant else []
