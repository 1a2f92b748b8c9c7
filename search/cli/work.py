"""``tunemax study run``, ``confirm`` and ``resume``: workers on a question, and what they have come to."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli.common import (
    STUDY_FILES,
    check_begun,
    count_flag,
    meant,
    revived,
    say_astray,
    say_how_measured,
    storage_flag,
)
from tunemax.search.cli.parser import Parser, add_command
from tunemax.search.question.counting import counted, one_or

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands
    from tunemax.search.storage.patience import Patience
    from tunemax.search.storage.questions import Question


def register(actions: Subcommands) -> None:
    parser = add_command(
        actions, "run", "work on a question until its budget is spent, then print the leaderboard", run
    )
    parser.add_argument(
        "what",
        metavar="FILE|QUESTION",
        help="a study file, or the name of a question in the storage, or of a file that comes with tunemax",
    )
    strength_flags(parser)
    elsewhere_flags(parser)
    storage_flag(parser)

    parser = add_command(
        actions, "confirm", "train a tuned question's winners anew on fresh seeds, and compare them", confirm
    )
    parser.add_argument("question", metavar="QUESTION")
    count_flag(parser, "--seeds", "seeds for each winner (default: as the study says, else 12)")
    count_flag(
        parser, "--runs", "so many for all winners together: who is settled gets no more (default: as the study says)"
    )
    count_flag(parser, "--top", "only the reference and the N best others")
    parser.add_argument(
        "--reference", metavar="CANDIDATE", help="compare with this one (default: as the study says, else softmax)"
    )
    parser.add_argument(
        "--margin",
        type=margin,
        metavar="SHARE",
        help="a smaller share of the loss is no difference (default: as it was begun, or the study says, else 0.005)",
    )
    count_flag(parser, "--longer", "at F times the tuned horizon", metavar="F", default=1)
    strength_flags(parser)
    elsewhere_flags(parser)
    storage_flag(parser)

    parser = add_command(actions, "resume", "go on with a question that was interrupted", resume)
    parser.add_argument("what", metavar="QUESTION")
    strength_flags(parser)
    elsewhere_flags(parser)
    storage_flag(parser)


def run(arguments: argparse.Namespace) -> None:
    """Create or join the question, work on it, confirm its winners if its file says so, print where it stands."""
    from tunemax.search.storage.lookup import storage_of, storage_of_file

    check_elsewhere(arguments)
    name = arguments.what
    file = file_to_read(name, arguments.storage)
    default = storage_of_file(name) if file else storage_of(name)
    where = arguments.storage or default
    if not file:
        check_begun(where, name)
    else:
        from tunemax.search.question.study_file import load_study_file
        from tunemax.search.storage.questions import schema_of

        definition = load_study_file(
            file, partial(schema_of, where)
        )  # first of all, so that a mistake leaves no process behind
        name = definition.name
    from tunemax.search.machine.processes import warm

    warm()  # while the rest is loaded here
    from tunemax.search.api import run_study
    from tunemax.search.storage.commands import typed
    from tunemax.search.storage.patience import LONG, Patience
    from tunemax.search.storage.questions import create, data_of, load_from
    from tunemax.search.views.live.screen import on_screen
    from tunemax.search.views.writers.terminal import with_command

    again = typed(where, "study", "run", arguments.what, *where_else(arguments), default=default)
    with interruptible(where, again):
        if file:
            say_how_measured(create(where, definition, data_of(where, definition)))
        question = load_from(where, name)
        check_left(question)
        with at_work(arguments, question, where) as strength:
            ended = run_study(name, where, **strength, show=on_screen)
    patience = Patience(LONG)
    print(f"\n{answer_of(where, name, patience)}")
    if ended.waiting:
        limit = arguments.seconds or load_from(where, name, patience).definition.budget.run_seconds
        print(with_command(f"{_left(ended.waiting, limit)} Go on with", again))
    elif ended.elsewhere:
        runs = one_or(ended.elsewhere, "runs", "run")
        elsewhere = f"{counted(ended.elsewhere, 'trial')} {runs} elsewhere, so winners may change"
        then = "confirm them" if load_from(where, name, patience).definition.confirm else "go on"
        ended_there = f"once {one_or(ended.elsewhere, 'it has', 'they have')} ended"
        print(with_command(f"{elsewhere}; {ended_there}, {then} with", again))


def confirm(arguments: argparse.Namespace) -> None:
    """Train the winners of a question on fresh seeds, on top of what is confirmed of it already."""
    from tunemax.search.api import confirm_study
    from tunemax.search.question.stages import MOST_RUNS, MOST_SEEDS, Confirm
    from tunemax.search.storage.commands import typed
    from tunemax.search.storage.database import check_writable
    from tunemax.search.storage.patience import LONG, Patience
    from tunemax.search.views.live.screen import on_screen
    from tunemax.search.views.writers.terminal import with_command

    check_elsewhere(arguments)
    question = revived(arguments, arguments.question)
    check_writable(question.storage)
    say_astray(question)
    say_how_measured(question)
    given = {key: getattr(arguments, key) for key in ("seeds", "runs", "top", "reference", "margin")}
    asked = {key: value for key, value in given.items() if value is not None}
    if asked.get("seeds", MOST_SEEDS) > MOST_SEEDS or asked.get("seeds", 2) < 2:
        few = "five or fewer can never show a difference"
        raise TunemaxError(f"--seeds = {asked['seeds']}: expected 2 to {MOST_SEEDS}; {few}")
    if asked.get("runs", 2) > MOST_RUNS:
        raise TunemaxError(f"--runs = {asked['runs']}: expected at most {MOST_RUNS}, of all candidates together")
    where = meant(arguments, arguments.question)
    words = [f"--{key}={value}" for key, value in asked.items()]
    words += [f"--longer={arguments.longer}"] if arguments.longer > 1 else []
    again = typed(where, "study", "confirm", question.name, *words, *where_else(arguments))
    every = {"runs": None} if "seeds" in asked else {}  # of each winner, unless the runs are counted as well
    stage = (question.definition.confirm or Confirm()).model_copy(update=every | asked)
    with interruptible(where, again):
        longer = arguments.longer
        with at_work(arguments, question, where) as strength:
            ended = confirm_study(question.name, where, stage, longer=longer, **strength, show=on_screen)
    print(f"\n{answer_of(where, question.name, Patience(LONG))}")
    if ended.waiting:
        print(with_command(f"{_left(ended.waiting, arguments.seconds)} Go on with", again))


def resume(arguments: argparse.Namespace) -> None:
    """Run a question by its name, if there is something left to train."""
    from tunemax.search.storage.commands import typed
    from tunemax.search.storage.database import check_writable
    from tunemax.search.storage.lookup import storage_of_file

    name = arguments.what
    if is_file(name):
        default = storage_of_file(name)
        again = typed(arguments.storage or default, "study", "run", name, default=default)
        raise TunemaxError(f"{name}: resume takes the name of a question; a file is run again with {again}")
    question = revived(arguments, name)
    check_writable(question.storage)
    counts = question.states()
    if not counts["waiting"]:
        running = counts["running"]
        elsewhere = f", {running} {one_or(running, 'is', 'are')} being trained" if running else ""
        more = f"give it more with {typed(question.storage.url, 'study', 'extend', name, '--trials', 'N')}"
        ended = counts.total() - running
        have = one_or(ended, "has", "have")
        raise TunemaxError(f"{name}: no trial waits; {ended} {have} ended{elsewhere}; {more}")
    run(arguments)


def check_left(question: Question) -> None:
    """Raise TunemaxError if there is nothing to train and nothing to show, since all of it was withdrawn or failed."""
    from tunemax.search.storage.attributes import ENDED
    from tunemax.search.storage.commands import typed

    counts = question.states()
    if counts["waiting"] or counts["running"] or any(counts[state] for state in ENDED):
        return
    what = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    more = typed(str(question.storage.url), "study", "extend", question.name, "--trials", "N")
    raise TunemaxError(f"{question.name}: no trial waits, and none has ended ({what}); give it more with {more}")


def _left(waiting: int, limit: float | None) -> str:
    """Why trials still wait. limit: seconds that the run had."""
    back = f"{counted(waiting, 'trial')} {one_or(waiting, 'waits', 'wait')}, given back by another run."
    return "The time is spent." if limit else back


@contextlib.contextmanager
def interruptible(where: str, again: str) -> Iterator[None]:
    """Ctrl-C while workers train ends with the answer so far, and the way to go on."""
    from tunemax.search.api import Interrupted
    from tunemax.search.storage.patience import Patience

    try:
        yield
    except Interrupted as interrupted:
        with contextlib.suppress(TunemaxError):  # the storage may be out of reach, or gone
            print(f"\n{answer_of(where, interrupted.name, Patience())}")
        raise KeyboardInterrupt(f"finished trials are kept; go on with {again}") from None


def answer_of(where: str, name: str, patience: Patience) -> str:
    """The leaderboard of a question, or of the one that a confirmation is of. patience: with its storage."""
    from tunemax.search.results.confirmation import tuned
    from tunemax.search.results.findings import gather
    from tunemax.search.storage.questions import load_from
    from tunemax.search.views.answer import answer

    return answer(gather(tuned(load_from(where, name, patience))))


def file_to_read(what: str, where: str | None) -> Path | None:
    """The study file that a run begins with: the one that is named, or one that comes with tunemax and is not begun.

    where: the storage, if it is named.
    """
    from tunemax.search.question.packaged import packaged

    if is_file(what):
        return Path(what)
    if what not in packaged():
        return None
    from tunemax.search.storage.lookup import storage_of
    from tunemax.search.storage.questions import holds

    return None if holds(where or storage_of(what), what) else packaged()[what]


def is_file(what: str) -> bool:
    """Whether somebody means a study file, not the name of a question."""
    return Path(what).suffix.lower() in STUDY_FILES or Path(what).is_file()


def margin(text: str) -> float:
    """The value of --margin. Raises TunemaxError for what is no such share."""
    from tunemax.search.question.stages import MOST_MARGIN

    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= MOST_MARGIN:
        valid = f"a share above 0, up to {MOST_MARGIN:g}; 0.005 is half a percent"
        raise TunemaxError(f"--margin = {text}: expected {valid}")
    return share


def check_elsewhere(arguments: argparse.Namespace) -> None:
    """Raise TunemaxError if the flags of `elsewhere_flags` do not fit, or name no cluster."""
    flags = [f"--{name}" for name in ("workers", "slots", "ray") if getattr(arguments, name)]
    if arguments.no_workers and flags:
        raise TunemaxError(f"{flags[0]}: means nothing with --no-workers; leave one of them out")
    if arguments.ray is not None:
        from tunemax.search.workers.ray_crew import check_address

        check_address(arguments.ray)


def where_else(arguments: argparse.Namespace) -> list[str]:
    """The flags of `elsewhere_flags` that are given, as a user types them."""
    return [*(["--no-workers"] if arguments.no_workers else []), *([f"--ray={arguments.ray}"] if arguments.ray else [])]


@contextlib.contextmanager
def at_work(arguments: argparse.Namespace, question: Question, where: str) -> Iterator[dict[str, Any]]:
    """Who trains, as the flags say: what `run_study` is told of it. Workers of a cluster are there for the block."""
    given = {name: getattr(arguments, name) for name in ("workers", "slots", "seconds")}
    if arguments.ray is None:
        yield {**given, "workers": 0} if arguments.no_workers else given
        return
    from tunemax.search.workers.ray_crew import RayCrew

    with RayCrew(question, where, arguments.ray, given["workers"], given["slots"]) as crew:
        print(f"tunemax: {crew.words}", file=sys.stderr)
        yield {"workers": 0, "seconds": given["seconds"], "look": crew.look}


def strength_flags(parser: Parser) -> None:
    count_flag(parser, "--workers", "worker processes (default: as the study says)")
    count_flag(parser, "--slots", "members that a worker trains at once (default: as the study says)")
    count_flag(parser, "--seconds", "start no new trial after this long")


def elsewhere_flags(parser: Parser) -> None:
    parser.add_argument(
        "--no-workers",
        action="store_true",
        help="train nothing here: wait for what others train (tunemax worker), publish and confirm it",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="workers are actors of a Ray cluster: auto, host:port or ray://host:port",
    )
