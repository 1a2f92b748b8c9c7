"""``tunemax study …``: create, run, resume, extend, cancel, delete, list, show, best, leaderboard, gc."""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt.errors import TunemaxError, did_you_mean
from search.cli.parser import Parser, add_command

if TYPE_CHECKING:
    from search.cli.parser import Subcommands
    from search.definition import StudyDefinition
    from search.leaderboard import Leaderboard
    from search.question import Question

DATABASE = "tunemax.db"
"""Where studies lie unless --storage or TUNEMAX_STORAGE says otherwise: beside the study file, or in studies/."""


def register(commands: Subcommands) -> None:
    group = commands.add_parser("study", help="define, run and read studies", description="Define, run and read studies.")
    actions = group.add_subparsers(metavar="ACTION", required=True)

    parser = add_command(actions, "create", "write a study file's question into the storage, without running it", create)
    parser.add_argument("file", metavar="FILE", help="a study file (YAML)")
    _storage(parser)

    parser = add_command(actions, "run", "work on a question until its budget is spent, then print the leaderboard", run)
    parser.add_argument("what", metavar="FILE|QUESTION", help="a study file, or the name of a question in the storage")
    _strength(parser)
    _storage(parser)

    parser = add_command(actions, "resume", "go on with a question that was interrupted", resume)
    parser.add_argument("what", metavar="QUESTION")
    _strength(parser)
    _storage(parser)

    parser = add_command(actions, "extend", "give a question more trials", extend)
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument("--trials", type=_positive("--trials"), required=True, metavar="N", help="trials more, for each candidate")
    _storage(parser)

    parser = add_command(actions, "cancel", "withdraw a question's waiting trials; what is finished stays", cancel)
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument("--now", action="store_true", help="also those that are being trained, which else go on to their end")
    _storage(parser)

    parser = add_command(actions, "delete", "delete a question, its trials and their files", delete)
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument("--yes", action="store_true", help="do it; else it is only said what would be deleted")
    _storage(parser)

    parser = add_command(actions, "list", "list the questions of a storage", list_)
    _storage(parser, as_json=True)

    parser = add_command(actions, "show", "show a question's definition and the state of its trials", show)
    parser.add_argument("question", metavar="QUESTION")
    _storage(parser, as_json=True)

    parser = add_command(actions, "best", "print the best trial, and the command that trains it again", best)
    parser.add_argument("study", metavar="QUESTION[/CANDIDATE]")
    _storage(parser, as_json=True)

    parser = add_command(actions, "leaderboard", "rank a question's candidates", leaderboard)
    parser.add_argument("question", metavar="QUESTION")
    _storage(parser, as_json=True)

    parser = add_command(actions, "gc", "remove the snapshots that no trial needs any more", gc)
    _storage(parser)

    parser = add_command(actions, "schema", "print the JSON Schema of study files, for editors", schema)


def create(arguments: argparse.Namespace) -> None:
    question = _create(Path(arguments.file), arguments.storage)
    trials = sum(map(len, question.trials().values()))
    print(f"{question.name}: {len(question.siblings)} studies, {trials} trials; run it with {_run_command(arguments, arguments.file)}")


def run(arguments: argparse.Namespace) -> None:
    """Create or join the question, work on it, print where it stands."""
    from search import supervisor
    from search.artifacts import make_artifact_folder
    from search.leaderboard import leaderboard as rank
    from search.progress import Progress
    from search.publish import publishing
    from search.question import load_from
    from search.view import shown

    path = Path(arguments.what)
    if path.suffix in (".yaml", ".yml"):
        where = arguments.storage or default_storage(path.parent)
        name = _create(path, where).name
    else:
        where, name = arguments.storage or default_storage(), arguments.what
    question = load_from(where, name)
    make_artifact_folder(question.storage.url)
    definition = question.definition
    workers, slots = arguments.workers or definition.workers, arguments.slots or definition.slots
    if workers > (cores := os.cpu_count() or 1):
        print(f"{workers} workers on {cores} cores: they will slow each other down")
    seconds = arguments.seconds or definition.budget.seconds
    progress = Progress.of(question, closes=seconds)
    print(
        f"{definition.question}\n{name}: {progress.done} of {progress.total} trials done, {definition.budget.horizon} iterations each",
        flush=True,
    )
    with publishing(where, name), shown(progress) as view:
        ended = supervisor.run(where, name, workers=workers, slots=slots, seconds=seconds, report=view)
    board = rank(load_from(where, name))
    print(f"\n{_table(board)}")
    again = _run_command(arguments, arguments.what)
    if not ended:
        raise KeyboardInterrupt(f"finished trials are kept; go on with {again}")
    if any(entry.waiting for entry in board.entries):
        print(f"The time is spent. Go on with {again}")


def resume(arguments: argparse.Namespace) -> None:
    """Run a question by its name, if there is something left to train."""
    name = arguments.what
    if Path(name).suffix in (".yaml", ".yml"):
        raise TunemaxError(f"{name}: resume takes the name of a question; a file is run again with {_run_command(arguments, name)}")
    counts = _states(_revived(arguments, name))
    if not counts["waiting"]:
        elsewhere = f", {counts['running']} are being trained" if counts["running"] else ""
        more = f"give it more with tunemax study extend {name} --trials N"
        raise TunemaxError(f"{name}: no trial waits; {counts.total() - counts['running']} have ended{elsewhere}; {more}")
    run(arguments)


def extend(arguments: argparse.Namespace) -> None:
    from search.question import extend as extend_question

    question = _load(arguments, arguments.question)
    extended = extend_question(question, arguments.trials)
    again = _run_command(arguments, extended.name)
    print(f"{extended.name}: {extended.definition.budget.trials} trials for each candidate; run it with {again}")


def cancel(arguments: argparse.Namespace) -> None:
    """Withdraw what waits; what workers train goes on to its end, unless that is not wanted either."""
    from search import records
    from search.ownership import withdraw
    from search.snapshots import discard, left_over
    from search.storage import storage_errors

    question = _revived(arguments, arguments.question)
    with storage_errors(question.storage.url):
        count = withdraw(question.storage, question.siblings, records.CANCELLED, running=arguments.now)
    for folder in left_over(question):
        discard(folder)
    counts = _states(question)
    if not count and not counts["running"]:
        raise TunemaxError(f"{question.name}: nothing to cancel; its {counts.total()} trials have ended")
    hint = "asked with the stock tools" if arguments.now else "to their end; withdraw them, too, with --now"
    print(f"{question.name}: {count} trials withdrawn" + (f"; {counts['running']} go on, {hint}" if counts["running"] else ""))


def delete(arguments: argparse.Namespace) -> None:
    from search.artifacts import remove_artifacts
    from search.removal import delete as delete_question

    question = _revived(arguments, arguments.question)
    counts = _states(question)
    what = f"{len(question.siblings)} studies with {counts.total()} trials ({counts['complete']} complete), and their files"
    if not arguments.yes:
        raise TunemaxError(f"{question.name}: this would delete {what}; add --yes if you mean it")
    trials = [trial for trials in question.trials().values() for trial in trials]
    delete_question(question)
    remove_artifacts(question.storage.url, trials)
    print(f"{question.name}: deleted {what}")


def gc(arguments: argparse.Namespace) -> None:
    from search.question import load, questions
    from search.snapshots import discard, left_over
    from search.storage import open_storage

    storage = open_storage(arguments.storage or default_storage(), create=False)
    freed = [discard(folder) for name in questions(storage) for folder in left_over(load(storage, name))]
    print(f"removed {len(freed)} snapshots, {sum(freed) / 1e6:.1f} MB" if freed else "nothing to remove")


def list_(arguments: argparse.Namespace) -> None:
    from search.leaderboard import leaderboard as rank
    from search.question import load, questions
    from search.records import STATES
    from search.storage import open_storage

    storage = open_storage(arguments.storage or default_storage(), create=False)
    rows, lines = [], []
    for name in questions(storage):
        board = rank(load(storage, name))
        counts = {state: sum(getattr(entry, state) for entry in board.entries) for state in STATES}
        first = next((entry for entry in board.entries if entry.best), None)
        rows.append({"name": name, "candidates": len(board.entries), "best": first.name if first else None, **counts})
        lines.append(f"{name}: {_counted(counts)}" + (f"; best so far: {first.name}" if first else ""))
    _print_json(rows) if arguments.json else print("\n".join(lines) or "no questions yet")


def show(arguments: argparse.Namespace) -> None:
    import yaml

    from search.leaderboard import leaderboard as rank
    from search.records import STATES

    question = _load(arguments, arguments.question)
    definition, board = json.loads(question.definition.to_json()), rank(question)
    states = {entry.name: {state: getattr(entry, state) for state in STATES} for entry in board.entries}
    if arguments.json:
        _print_json({"definition": definition, "trials": states})
        return
    print(yaml.safe_dump(definition, sort_keys=False, allow_unicode=True).rstrip())
    for name, counts in states.items():
        print(f"{name}: {_counted(counts)}")


def best(arguments: argparse.Namespace) -> None:
    from search.leaderboard import leaderboard as rank
    from search.winner import command, shell

    name, _, candidate = arguments.study.partition("/")
    board = rank(_load(arguments, name))
    names = [entry.name for entry in board.entries]
    if candidate and candidate not in names:
        raise TunemaxError(f"{candidate}: no such candidate of {name}{did_you_mean(candidate, names)}")
    entry = next((entry for entry in board.entries if entry.best and entry.name == (candidate or entry.name)), None)
    if entry is None or entry.best is None:
        raise TunemaxError(f"{arguments.study}: no trial is complete yet; run it with tunemax study run {name}")
    found = entry.best
    words = command(found)
    if arguments.json:
        _print_json({"study": entry.study, "number": found.number, "value": found.value, "params": dict(found.params), "command": words})
        return
    print(f"{entry.study} trial {found.number}: validation loss {found.value:.4f} (tuned, not confirmed)")
    for field, value in found.params.items():
        print(f"  {field} {value:.6g}" if isinstance(value, float) else f"  {field} {value}")
    print(shell(words))


def leaderboard(arguments: argparse.Namespace) -> None:
    from search.leaderboard import leaderboard as rank

    board = rank(_load(arguments, arguments.question))
    _print_json(board.to_json()) if arguments.json else print(f"{board.question}\n\n{_table(board)}")


def schema(_arguments: argparse.Namespace) -> None:
    from search.definition import json_schema

    _print_json(json_schema())


def _table(board: Leaderboard) -> str:
    from search.lines import plain

    titles: tuple[str, ...] = ("", "best", "top 5", "complete", "pruned", "diverged", "duplicate", "steps")
    rows = [titles]
    for entry in board.entries:
        losses = [None if entry.best is None else entry.best.value, entry.median_of_top]
        counts = [entry.complete, entry.pruned, entry.diverged, entry.duplicate, entry.member_steps]
        rows.append((entry.name, *("–" if loss is None else f"{loss:.4f}" for loss in losses), *(f"{count:,}" for count in counts)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    lines = []
    for row in rows:
        lines.append("  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]))
    settings = [f"{entry.name.ljust(widths[0])}  {plain(entry.best.params)}" for entry in board.entries if entry.best]
    lines += ["", "Best settings:", *settings] if settings else []
    explained = "Validation loss in nats a token, at the horizon: of the best trial, and the median of the best five. Steps: of all trials."
    return "\n".join([*lines, "", explained, f"{board.verdict[0].upper()}{board.verdict[1:]}"])


def _create(path: Path, where: str | None) -> Question:
    from gpt.data import open_data
    from search.definition import load_study_file
    from search.question import create as create_question

    definition: StudyDefinition = load_study_file(path)
    corpus = open_data(definition.data)
    return create_question(where or default_storage(path.parent), definition, corpus)


def _load(arguments: argparse.Namespace, name: str) -> Question:
    from search.question import load_from

    return load_from(arguments.storage or default_storage(), name)


def _revived(arguments: argparse.Namespace, name: str) -> Question:
    """A question whose dead workers' trials wait again."""
    from search.recovery import reap

    question = _load(arguments, name)
    reap(question)
    return question


def _states(question: Question) -> Counter[str]:
    from search.records import state

    return Counter(state(trial) for trials in question.trials().values() for trial in trials)


def _run_command(arguments: argparse.Namespace, what: str) -> str:
    """What to type to go on with a study file or a question, in the storage that was asked for."""
    return shlex.join(["tunemax", "study", "run", what, *(["--storage", arguments.storage] if arguments.storage else [])])


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def _print_json(data: Any) -> None:
    """Print JSON that any reader takes: an infinite loss, which somebody may have told, is null."""

    def finite(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: finite(value) for key, value in part.items()}
        if isinstance(part, (list, tuple)):
            return [finite(value) for value in part]
        return None if isinstance(part, float) and not math.isfinite(part) else part

    print(json.dumps(finite(data), indent=1, allow_nan=False))


def default_storage(folder: Path = Path("studies")) -> str:
    return os.environ.get("TUNEMAX_STORAGE") or str(folder / DATABASE)


def _strength(parser: Parser) -> None:
    parser.add_argument("--workers", type=_positive("--workers"), metavar="N", help="worker processes (default: as the study says)")
    parser.add_argument(
        "--slots", type=_positive("--slots"), metavar="N", help="members that a worker trains at once (default: as the study says)"
    )
    parser.add_argument("--seconds", type=_positive("--seconds"), metavar="N", help="start no new trial after this long")


def _storage(parser: Parser, *, as_json: bool = False) -> None:
    parser.add_argument(
        "--storage", metavar="URL", help=f"path or SQLAlchemy URL (default: TUNEMAX_STORAGE, else {DATABASE} beside the study files)"
    )
    if as_json:
        parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def _positive(flag: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) == 0:
            raise TunemaxError(f"{flag} = {text}: expected a whole number ≥ 1")
        return int(text)

    return read
