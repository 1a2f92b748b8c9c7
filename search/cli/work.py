"""``tunemax study run``, ``confirm`` and ``resume``: workers on a question, and what they have come to."""

from __future__ import annotations

import argparse
import itertools
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli.common import create_from, positive, revived, run_command, states, storage_flag
from tunemax.search.cli.parser import Parser, add_command
from tunemax.search.storage.paths import default_storage, typed

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands
    from tunemax.search.question.stages import Confirm
    from tunemax.search.storage.questions import Question


def register(actions: Subcommands) -> None:
    parser = add_command(
        actions, "run", "work on a question until its budget is spent, then print the leaderboard", run
    )
    parser.add_argument("what", metavar="FILE|QUESTION", help="a study file, or the name of a question in the storage")
    strength_flags(parser)
    storage_flag(parser)

    parser = add_command(
        actions, "confirm", "train a tuned question's winners anew on fresh seeds, and compare them", confirm
    )
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument(
        "--seeds",
        type=positive("--seeds"),
        metavar="N",
        help="seeds for each winner (default: as the study says, else 12)",
    )
    parser.add_argument("--top", type=positive("--top"), metavar="N", help="only the reference and the N best others")
    parser.add_argument(
        "--reference", metavar="CANDIDATE", help="compare with this one (default: as the study says, else softmax)"
    )
    parser.add_argument(
        "--longer", type=positive("--longer"), default=1, metavar="F", help="at F times the tuned horizon"
    )
    strength_flags(parser)
    storage_flag(parser)

    parser = add_command(actions, "resume", "go on with a question that was interrupted", resume)
    parser.add_argument("what", metavar="QUESTION")
    strength_flags(parser)
    storage_flag(parser)


def run(arguments: argparse.Namespace) -> None:
    """Create or join the question, work on it, confirm its winners if its file says so, print where it stands."""
    from tunemax.search.results.repeats import lay_out_repeats
    from tunemax.search.storage.questions import load_from

    path = Path(arguments.what)
    if path.suffix in (".yaml", ".yml"):
        where = arguments.storage or default_storage(path.parent)
        name = create_from(path, where).name
    else:
        where, name = arguments.storage or default_storage(), arguments.what
    again = run_command(arguments, arguments.what)
    question = load_from(where, name)
    closes = time.monotonic() + seconds if (seconds := _seconds(arguments, question)) else None
    left = _work(arguments, where, name, again, closes)
    tuned = [question, *lay_out_repeats(question)]
    for repeat in tuned[1:]:
        left += _work(arguments, where, repeat.name, again, closes)
    elsewhere = sum(states(each)["running"] for each in tuned)
    stage = question.definition.confirm
    if stage and not left and not elsewhere:
        for each, factor in itertools.product(tuned, stage.horizons):
            left += _confirm(arguments, where, each.name, stage, factor, again, closes)
    print(f"\n{answer_of(where, name)}")
    if left:
        print(f"The time is spent. Go on with {again}")
    elif stage and elsewhere:
        print(
            f"{elsewhere} trials run elsewhere, so winners may change; once they have ended, confirm them with {again}"
        )


def confirm(arguments: argparse.Namespace) -> None:
    """Train the winners of a question on fresh seeds, on top of what is confirmed of it already."""
    from tunemax.search.question.stages import MOST_SEEDS, Confirm
    from tunemax.search.results.repeats import repeating

    question = revived(arguments, arguments.question)
    stage = question.definition.confirm or Confirm()
    asked = {
        key: getattr(arguments, key) for key in ("seeds", "top", "reference") if getattr(arguments, key) is not None
    }
    if asked.get("seeds", MOST_SEEDS) > MOST_SEEDS or asked.get("seeds", 2) < 2:
        raise TunemaxError(
            f"--seeds = {asked['seeds']}: expected 2 to {MOST_SEEDS}; five or fewer can never show a difference"
        )
    where = arguments.storage or default_storage()
    words = [f"--{key}={value}" for key, value in asked.items()] + (
        [f"--longer={arguments.longer}"] if arguments.longer > 1 else []
    )
    again = shlex.join(
        ["tunemax", "study", "confirm", question.name, *words, *(["--storage", where] if arguments.storage else [])]
    )
    closes = time.monotonic() + arguments.seconds if arguments.seconds else None
    left = 0
    for tuned in [question, *repeating(question)]:
        left += _confirm(arguments, where, tuned.name, stage.model_copy(update=asked), arguments.longer, again, closes)
    print(f"\n{answer_of(where, question.name)}")
    if left:
        print(f"The time is spent. Go on with {again}")


def _confirm(
    arguments: argparse.Namespace, where: str, name: str, stage: Confirm, factor: int, again: str, closes: float | None
) -> int:
    """Create a confirmation, or what it lacks, and work on it. Returns how many of its runs are still to come."""
    from tunemax.search.results.freezing import confirm as freeze
    from tunemax.search.storage.questions import load_from
    from tunemax.search.views.dashboard.publish import try_to_publish

    opened = freeze(load_from(where, name), stage, factor)
    left = _work(arguments, where, opened.name, again, closes)
    if fault := try_to_publish(where, name):
        print(f"tunemax: the note and figures of {name} are not up to date; {fault}", file=sys.stderr)
    return left


def _work(arguments: argparse.Namespace, where: str, name: str, again: str, closes: float | None) -> int:
    """Work on a question of the storage. Returns how many trials wait then: none, unless the time is spent.

    closes: of the monotonic clock, when no trial starts any more. Raises KeyboardInterrupt, with the way to go on, on
    Ctrl-C.
    """
    from tunemax.search.machine.processes import warm

    warm()  # before what takes a while to load here
    from tunemax.search.machine.plan import plan
    from tunemax.search.storage.artifacts import make_artifact_folder
    from tunemax.search.storage.questions import load_from
    from tunemax.search.views.dashboard.publish import publishing
    from tunemax.search.views.live.progress import Progress
    from tunemax.search.views.live.view import shown
    from tunemax.search.workers import supervisor

    question = load_from(where, name)
    make_artifact_folder(question.storage.url)
    definition = question.definition
    seconds = None if closes is None else max(closes - time.monotonic(), 1e-3)
    progress = Progress.of(question, closes=seconds)
    planned = plan(definition, progress.total, arguments.workers, arguments.slots, begun=progress.done > 0)
    for line in planned.lines:
        print(line, file=sys.stderr)
    asked = f"Confirming {definition.confirms.question} on fresh seeds" if definition.confirms else definition.question
    print(
        f"{asked}\n{name}: {progress.done} of {progress.total} trials done, {definition.budget.horizon} iterations "
        "each",
        flush=True,
    )
    with publishing(where, name), shown(progress) as view:
        ended = supervisor.run(where, name, planned, seconds=seconds, report=view)
    if not ended:
        print(f"\n{answer_of(where, name)}")
        raise KeyboardInterrupt(f"finished trials are kept; go on with {again}")
    return states(load_from(where, name))["waiting"]


def answer_of(where: str, name: str) -> str:
    """The leaderboard of a question, or of the one that a confirmation is of."""
    from tunemax.search.results.confirmation import confirmations, tuned
    from tunemax.search.results.leaderboard import candidates, rank
    from tunemax.search.results.pruning import fidelity
    from tunemax.search.results.repeats import repeats
    from tunemax.search.storage.questions import load_from
    from tunemax.search.views.tables import answer

    question = tuned(load_from(where, name))
    found = candidates(question)
    warnings = fidelity(question.definition, found).warnings
    return answer(rank(question, found), confirmations(question), repeats(question), warnings)


def _seconds(arguments: argparse.Namespace, question: Question) -> float | None:
    return arguments.seconds or question.definition.budget.seconds


def resume(arguments: argparse.Namespace) -> None:
    """Run a question by its name, if there is something left to train."""
    name = arguments.what
    if Path(name).suffix in (".yaml", ".yml"):
        raise TunemaxError(
            f"{name}: resume takes the name of a question; a file is run again with {run_command(arguments, name)}"
        )
    question = revived(arguments, name)
    counts = states(question)
    if not counts["waiting"]:
        elsewhere = f", {counts['running']} are being trained" if counts["running"] else ""
        more = f"give it more with {typed(question.storage.url, 'study', 'extend', name, '--trials', 'N')}"
        raise TunemaxError(
            f"{name}: no trial waits; {counts.total() - counts['running']} have ended{elsewhere}; {more}"
        )
    run(arguments)


def strength_flags(parser: Parser) -> None:
    parser.add_argument(
        "--workers", type=positive("--workers"), metavar="N", help="worker processes (default: as the study says)"
    )
    parser.add_argument(
        "--slots",
        type=positive("--slots"),
        metavar="N",
        help="members that a worker trains at once (default: as the study says)",
    )
    parser.add_argument("--seconds", type=positive("--seconds"), metavar="N", help="start no new trial after this long")
