"""What a command is about: the storage and the question that its words name, and the words to go on with."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli.parser import Parser
from tunemax.search.storage.paths import DATABASE, default_storage

if TYPE_CHECKING:
    from tunemax.search.question.definition import StudyDefinition
    from tunemax.search.storage.questions import Question


def create_from(path: Path, where: str | None) -> Question:
    from tunemax.gpt.data import open_data
    from tunemax.search.question.study_file import load_study_file
    from tunemax.search.storage.questions import create as create_question

    definition: StudyDefinition = load_study_file(path)
    corpus = open_data(definition.data)
    return create_question(where or default_storage(path.parent), definition, corpus)


def opened(arguments: argparse.Namespace, name: str) -> Question:
    from tunemax.search.storage.questions import load_from

    return load_from(arguments.storage or default_storage(), name)


def revived(arguments: argparse.Namespace, name: str) -> Question:
    """A question whose dead workers' trials wait again."""
    from tunemax.search.storage.recovery import reap

    question = opened(arguments, name)
    reap(question)
    return question


def states(question: Question) -> Counter[str]:
    from tunemax.search.storage.attributes import state

    return Counter(state(trial) for trials in question.trials().values() for trial in trials)


def run_command(arguments: argparse.Namespace, what: str) -> str:
    """What to type to go on with a study file or a question, in the storage that was asked for."""
    return shlex.join(
        ["tunemax", "study", "run", what, *(["--storage", arguments.storage] if arguments.storage else [])]
    )


def storage_flag(parser: Parser, *, as_json: bool = False) -> None:
    parser.add_argument(
        "--storage",
        metavar="URL",
        help=f"path or SQLAlchemy URL (default: TUNEMAX_STORAGE, else {DATABASE} beside the study files)",
    )
    if as_json:
        parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def positive(flag: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) == 0:
            raise TunemaxError(f"{flag} = {text}: expected a whole number ≥ 1")
        return int(text)

    return read
