"""``tunemax study import``: the exploration files of the reference sandbox as study files."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.paths import path_typed
from tunemax.search.cli.parser import add_command
from tunemax.search.question.counting import counted, one_or

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands
    from tunemax.search.question.definition import StudyDefinition
    from tunemax.search.question.exploration.sweep import Sweep
    from tunemax.search.question.yaml_lines import Located

HERE = "-"
"""The standard output, as a file."""


def register(actions: Subcommands) -> None:
    parser = add_command(actions, "import", "convert an exploration file of the reference sandbox", run)
    parser.add_argument("file", type=path_typed, metavar="FILE", help="an exploration file (YAML or JSON)")
    parser.add_argument(
        "--out", default=HERE, metavar="STUDY.yaml", help="where to write the study file (default: -, to the screen)"
    )
    parser.add_argument("--data", metavar="TEXT", help="the text to train on, in place of the file's dataset")
    parser.add_argument(
        "--skip-impossible", action="store_true", help="leave out combinations that cannot be trained here"
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")


def run(arguments: argparse.Namespace) -> None:
    """Convert a file, say what was left out, and write the study file whole."""
    from tunemax.gpt.files import write_whole
    from tunemax.search.question.exploration.study import study
    from tunemax.search.question.exploration.sweep import sweep
    from tunemax.search.question.schema import study_file
    from tunemax.search.question.yaml_lines import Fault, read_documents
    from tunemax.search.views.writers.terminal import hanging, with_command

    file, out = arguments.file, None if arguments.out == HERE else path_typed(arguments.out)
    if out is not None and out.exists() and not arguments.force:
        raise TunemaxError(f"{out}: is there already; choose another name, or write over it with --force")
    located = read_documents(file)
    try:
        found = sweep(located.data, arguments.data, skip_impossible=arguments.skip_impossible)
        if len(found.trainings) == 1:
            raise TunemaxError(f"{file}: one training, which is no study; run it with {_train(found)}")
        definition = study(found, name=_name(out or file), source=file.name)
    except Fault as fault:
        raise TunemaxError(f"{file}:{located.line(fault.where)}: {fault.message}") from None
    text = f"# {_counts(file, found)}\n# What is not named there is as the sandbox has it.\n{study_file(definition)}"
    if out is None:
        print(text, end="")
    else:
        write_whole(out, text.encode())
    for line in (*_said(located, found), _counts(file, found), _asked(definition)):
        print(hanging("", line), file=sys.stderr)
    if out is not None:
        print(with_command(f"{out}: run it with", shlex.join(["tunemax", "study", "run", str(out)])))


def _counts(file: Path, found: Sweep) -> str:
    """``sweep.json: 1,080 combinations, 450 duplicates of others, 630 trainings``."""
    told = [counted(found.combinations, "combination")]
    if found.impossible:
        told.append(f"{found.impossible:,} that cannot be trained here")
    if found.duplicates:
        told.append(f"{found.duplicates:,} {one_or(found.duplicates, 'duplicate', 'duplicates')} of others")
    return f"{file.name}: {', '.join((*told, counted(len(found.trainings), 'training')))}"


def _said(located: Located, found: Sweep) -> Iterator[str]:
    """What was left out or means nothing, each with its lines."""
    for said in found.said:
        lines = sorted({located.line(where) for where in said.wheres})
        several = ", ".join(map(str, lines[:4])) + (", …" if lines[4:] else "")
        yield f"{one_or(len(lines), 'line', 'lines')} {several}: {said.text}"


def _asked(definition: StudyDefinition) -> str:
    """What kind of a study it has become."""
    grid, trials = definition.sampler.is_grid, counted(definition.budget.trials, "trial")
    kind = f"a grid of {trials}" if grid else f"{trials}, since it is too large for a grid"
    studies = len(definition.siblings())
    return f"{definition.name}: {counted(studies, 'study')}, {'each ' * (studies > 1)}{kind}"


def _name(file: Path) -> str:
    """A name for the study, like the file's."""
    from tunemax.search.question.stages import is_name

    slug = re.sub(r"[^a-z0-9_-]+", "_", file.stem.lower()).strip("_-")[:80]
    return slug if is_name(slug) else "exploration"


def _train(found: Sweep) -> str:
    """The command that trains the only one."""
    from tunemax.gpt.config import Config
    from tunemax.search.storage.commands import training

    return shlex.join(training(Config.of(dict(found.trainings[0].fields)).flat()))
