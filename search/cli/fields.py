"""``tunemax fields``: the reference of every field, as text, JSON, or the Markdown of docs/fields.md."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from tunemax.search.cli.parser import add_command

if TYPE_CHECKING:
    from tunemax.gpt.fields import Condition, FieldSpec
    from tunemax.search.cli.parser import Subcommands

NOTE = (
    "Made by `tunemax fields --markdown > docs/fields.md`; a test holds the two equal. A field whose condition does "
    "not hold is",
    "inert: it is neither sampled nor part of a configuration's identity. *Search* is the range that a study takes "
    "unless it names",
    "its own; *control* is how an agent moves the field while a training runs, and between which bounds.",
)


def register(commands: Subcommands) -> None:
    parser = add_command(commands, "fields", "list every field with its default, valid values and condition", run)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for scripts")
    form.add_argument("--markdown", action="store_true", help="the text of docs/fields.md")


def run(arguments: argparse.Namespace) -> None:
    """Print the reference in the form asked for."""
    from tunemax.gpt.config import all_specs

    specs = list(all_specs().values())
    if arguments.json:
        print(json.dumps([_record(spec) for spec in specs], indent=2, ensure_ascii=False))
    else:
        print(markdown(specs) if arguments.markdown else text(specs), end="")


def text(specs: list[FieldSpec]) -> str:
    """Two lines a field: name, default and valid values; help and condition."""
    from tunemax.search.cli.flags import sections
    from tunemax.search.views.writers.terminal import hanging

    lines = []
    for title, members in sections(specs):
        lines += [title, ""]
        for spec in members:
            row = _row(spec)
            head = hanging("  ", f"{spec.name} = {row['default']}  ({row['valid']})")
            lines += [head, hanging("      ", _meaning(row))]
        lines.append("")
    return "\n".join(lines)


def markdown(specs: list[FieldSpec]) -> str:
    """One table a section."""
    from tunemax.search.cli.flags import sections

    lines = ["# Fields", "", *NOTE, ""]
    for title, members in sections(specs):
        lines += [
            f"## {title}",
            "",
            "| field | default | valid | meaning | search | control |",
            "|---|---|---|---|---|---|",
        ]
        for spec in members:
            row = {key: value.replace("|", "\\|") for key, value in _row(spec).items()}
            cells = (f"`{spec.name}`", row["default"], row["valid"], _meaning(row), row["search"], row["control"])
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _row(spec: FieldSpec) -> dict[str, str]:
    """What a reader needs of a field, in words."""
    from tunemax.gpt.fields import Choices, shown
    from tunemax.search.cli.flags import condition

    search, control = spec.declared.search, spec.declared.control
    if search is None:
        searched = ""
    elif isinstance(search, Choices):
        searched = ", ".join(shown(value) for value in search.values)
    else:
        step = f", step {shown(search.step)}" if search.step else ""
        searched = f"{shown(search.low)} to {shown(search.high)}{', log' if search.log else ''}{step}"
    return {
        "default": shown(spec.default) or "empty",
        "valid": spec.valid(),
        "help": spec.help,
        "when": condition(spec),
        "search": searched,
        "control": f"{control.move}, {shown(control.low)} to {shown(control.high)}" if control else "",
    }


def _meaning(row: dict[str, str]) -> str:
    return f"{row['help']}; only with {row['when']}" if row["when"] else row["help"]


def _plain(condition: Condition) -> dict[str, Any]:
    """By name the values, or ``{"above": bound}``."""
    from tunemax.gpt.fields import Above

    return {
        name: {"above": allowed.bound} if isinstance(allowed, Above) else list(allowed)
        for name, allowed in condition.items()
    }


def _record(spec: FieldSpec) -> dict[str, Any]:
    declared = spec.declared
    return {
        "name": spec.name,
        "group": spec.group,
        "default": spec.default,
        "valid": spec.valid(),
        "options": list(spec.options),
        "help": spec.help,
        "when": _plain(spec.when),
        "any_of": list(map(_plain, spec.any_of)),
        "search": declared.search and vars(declared.search),
        "control": declared.control and vars(declared.control),
        "learnable": declared.learnable,
        "shared": declared.shared,
        "identity": declared.identity,
    }
