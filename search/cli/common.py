"""What several commands share: the storage and the question that their words name, and JSON on the screen."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.numbers import MOST, whole_number
from tunemax.search.cli.parser import Parser
from tunemax.search.storage.paths import DATABASE, databases, default_storage

if TYPE_CHECKING:
    from tunemax.search.storage.questions import Question

STUDY_FILES = (".yaml", ".yml", ".json")
"""How the names of study files end."""


def opened(arguments: argparse.Namespace, name: str) -> Question:
    from tunemax.search.storage.questions import load_from

    where = meant(arguments, name)
    check_begun(where, name)
    return load_from(where, name)


def check_begun(where: str, name: str) -> None:
    """Raise TunemaxError for the name of a question that a storage does not have, if a study file here is called so."""
    file = next((path for ending in STUDY_FILES if (path := Path(f"{name}{ending}")).is_file()), None)
    if not file:
        return
    from tunemax.search.storage.commands import typed
    from tunemax.search.storage.lookup import storage_of_file
    from tunemax.search.storage.questions import holds

    if not holds(where, name):
        again = typed(where, "study", "run", str(file), default=storage_of_file(file))
        raise TunemaxError(f"{name}: no question of this name has begun; the file is run with {again}")


def meant(arguments: argparse.Namespace, name: str) -> str:
    """The storage that is named, or the one that has a question of this name."""
    from tunemax.search.storage.lookup import storage_of

    return str(arguments.storage or storage_of(name))


def all_meant(arguments: argparse.Namespace) -> list[str]:
    """The storage that is named, or all that are looked in where none is."""
    return [arguments.storage] if arguments.storage else databases() or [default_storage()]


def say_astray(question: Question) -> None:
    """Which of its studies are missing, renamed, copied or cannot be read."""
    for sentence in question.astray:
        print(sentence, file=sys.stderr)


def say_how_measured(question: Question) -> None:
    """What somebody should know who has asked for a question: old rules and defaults, what `eval_iters` was taken as,
    and what means nothing."""
    from tunemax.gpt.evaluation import converted
    from tunemax.gpt.schedule import overlapping
    from tunemax.gpt.train_config import TrainConfig
    from tunemax.search.question.phases import SHAPE
    from tunemax.search.question.twins import twin_choices
    from tunemax.search.views.writers.terminal import hanging

    definition = question.definition
    said = [definition.kept, definition.rule, *definition.idle, *twin_choices(definition)]
    if not definition.rule and "eval_iters" in definition.base:
        base = definition.base
        said.append(converted(int(base["eval_iters"]), int(base["eval_tokens"])))
    if not definition.space.keys() & set(SHAPE):
        shape = {name: definition.base[name] for name in SHAPE if name in definition.base}
        said.append(overlapping(TrainConfig(**shape, max_iters=definition.budget.steps)) or "")
    for sentence in filter(None, said):
        print(hanging(f"{question.name}: ", sentence), file=sys.stderr)


def revived(arguments: argparse.Namespace, name: str) -> Question:
    """A question whose dead workers' trials wait again."""
    from tunemax.search.storage.recovery import reap

    question = opened(arguments, name)
    reap(question.storage, question.siblings)
    return question


def storage_flag(parser: Parser, *, as_json: bool = False) -> None:
    parser.add_argument(
        "--storage",
        metavar="URL",
        help=f"path or SQLAlchemy URL (default: TUNEMAX_STORAGE, else {DATABASE} beside the file, in studies or here)",
    )
    if as_json:
        parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def count_flag(
    parser: argparse._ActionsContainer,
    flag: str,
    help: str,
    metavar: str = "N",
    default: int | None = None,
    **more: Any,
) -> None:
    """A flag that takes a whole number of at least 1."""
    parser.add_argument(flag, type=whole(flag, 1), metavar=metavar, help=help, default=default, **more)


def whole(flag: str, least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads the value of a flag, a whole number. Raises TunemaxError for anything else."""

    def read(text: str) -> int:
        number = whole_number(text)
        if number is None or not least <= number <= (most or MOST):
            from tunemax.gpt.fields import shown

            bound = f" and ≤ {MOST:.0e}".replace("e+", "e") if number and number > MOST else ""
            valid = f"≥ {least}{bound}" if most is None else f"from {least} to {most}"
            raise TunemaxError(f"{flag} = {shown(text)}: expected a whole number {valid}")
        return number

    return read


def number(flag: str) -> Callable[[str], float]:
    """Reads the value of a flag, a number; whether it says anything is for others to judge."""

    def read(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            from tunemax.gpt.fields import shown

            raise TunemaxError(f"{flag} = {shown(text)}: expected a number") from None

    return read


def print_json(data: Any) -> None:
    """Print JSON that any reader takes: an infinite loss, which somebody may have told, is null."""

    from tunemax.search.results.statistics import finite

    print(json.dumps(finite(data), indent=1, allow_nan=False))
