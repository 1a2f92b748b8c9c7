"""``tunemax study …``: define and read questions, give them more to do, tidy up. Working on them is in `work`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.search.cli import exploration, replay, work
from tunemax.search.cli.common import (
    all_meant,
    count_flag,
    meant,
    opened,
    print_json,
    revived,
    say_astray,
    say_how_measured,
    storage_flag,
)
from tunemax.search.cli.parser import add_command
from tunemax.search.question.counting import counted, one_or

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands


def register(commands: Subcommands) -> None:
    group = commands.add_parser(
        "study", help="define, run and read studies", description="Define, run and read studies."
    )
    actions = group.add_subparsers(metavar="ACTION", required=True)

    parser = add_command(
        actions, "create", "write a study file's question into the storage, without running it", create
    )
    parser.add_argument("file", metavar="FILE", help="a study file (YAML), or the name of one that comes with tunemax")
    storage_flag(parser)

    work.register(actions)

    add_command(actions, "files", "list the study files that come with tunemax", files)

    exploration.register(actions)

    parser = add_command(actions, "extend", "give a question more trials", extend)
    parser.add_argument("question", metavar="QUESTION")
    count_flag(parser, "--trials", "trials more, for each candidate", required=True)
    storage_flag(parser)

    parser = add_command(actions, "cancel", "withdraw a question's waiting trials; what is finished stays", cancel)
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument(
        "--now", action="store_true", help="also those that are being trained, which else go on to their end"
    )
    storage_flag(parser)

    parser = add_command(actions, "delete", "delete a question, its trials and their files", delete)
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument("--yes", action="store_true", help="do it; else it is only said what would be deleted")
    storage_flag(parser)

    parser = add_command(actions, "rename", "give a study back the name that other tools have changed", rename)
    parser.add_argument("study", metavar="STUDY", help="its name now")
    parser.add_argument("name", metavar="QUESTION/CANDIDATE", help="the name that its question knows")
    storage_flag(parser)

    parser = add_command(actions, "list", "list the questions of a storage", list_)
    storage_flag(parser, as_json=True)

    parser = add_command(actions, "show", "show a question's definition and the state of its trials", show)
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument("--yaml", action="store_true", help="print a study file that asks the same")
    storage_flag(parser, as_json=True)

    parser = add_command(actions, "best", "print the best trial, and the command that trains it again", best)
    parser.add_argument("study", metavar="QUESTION[/CANDIDATE]")
    storage_flag(parser, as_json=True)

    parser = add_command(actions, "leaderboard", "rank a question's candidates", leaderboard)
    parser.add_argument("question", metavar="QUESTION")
    storage_flag(parser, as_json=True)

    replay.register(actions)

    parser = add_command(actions, "gc", "remove the snapshots that no trial needs any more", gc)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="only of these (default: of all)")
    storage_flag(parser)

    parser = add_command(actions, "schema", "print the JSON Schema of study files, for editors", schema)


def create(arguments: argparse.Namespace) -> None:
    from tunemax.search.api import create_study
    from tunemax.search.question.packaged import named
    from tunemax.search.storage.commands import typed
    from tunemax.search.storage.lookup import storage_of_file
    from tunemax.search.views.writers.terminal import with_command

    file = named(arguments.file)
    default = storage_of_file(arguments.file)
    where = arguments.storage or default
    question = create_study(file, where)
    say_astray(question)
    say_how_measured(question)
    again = typed(where, "study", "run", arguments.file, default=default)
    trials = sum(map(len, question.trials().values()))
    counts = f"{counted(len(question.siblings), 'study')}, {counted(trials, 'trial')}"
    print(with_command(f"{question.name}: {counts}; run it with", again))


def files(_arguments: argparse.Namespace) -> None:
    from tunemax.search.question.packaged import asked_by, packaged
    from tunemax.search.views.writers.terminal import hanging

    width = max(map(len, packaged()))
    for name, file in packaged().items():
        question, of_agents = asked_by(file)
        print(f"{name:{width}}  tunemax {'rl ' if of_agents else ''}study{'' if of_agents else ' run'} {name}")
        print(hanging(f"{'':{width}}  ", question))


def extend(arguments: argparse.Namespace) -> None:
    from tunemax.search.storage.commands import typed
    from tunemax.search.storage.questions import extend as extend_question
    from tunemax.search.views.writers.terminal import with_command

    question = opened(arguments, arguments.question)
    extended = extend_question(question, arguments.trials)
    again = typed(meant(arguments, extended.name), "study", "run", extended.name)
    say_astray(extended)
    trials = counted(extended.definition.budget.trials, "trial")
    print(with_command(f"{extended.name}: {trials} for each candidate; run it with", again))


def cancel(arguments: argparse.Namespace) -> None:
    """Withdraw what waits; what workers train goes on to its end, unless that is not wanted either."""
    from tunemax.search.storage import attributes, transit
    from tunemax.search.storage.database import check_writable
    from tunemax.search.storage.ownership import withdraw
    from tunemax.search.storage.rows import remove
    from tunemax.search.storage.urls import storage_errors
    from tunemax.search.workers.snapshots import discard, left_over

    question = revived(arguments, arguments.question)
    check_writable(question.storage)
    with storage_errors(question.storage.url):
        count = withdraw(question.storage, question.siblings, attributes.CANCELLED, running=arguments.now)
    for folder in left_over(question):
        discard(folder)
    remove(question.storage, transit.left_over(question))
    counts = question.states()
    if not count and not counts["running"]:
        ended = f"its {counted(counts.total(), 'trial')} {one_or(counts.total(), 'has', 'have')} ended"
        raise TunemaxError(f"{question.name}: nothing to cancel; {ended}")
    hint = "asked with the stock tools" if arguments.now else "to their end; withdraw them, too, with --now"
    others = f"; {counts['running']} {one_or(counts['running'], 'goes', 'go')} on, {hint}" if counts["running"] else ""
    print(f"{question.name}: {counted(count, 'trial')} withdrawn{others}")


def delete(arguments: argparse.Namespace) -> None:
    """Delete a question with its repeats and all confirmations, which mean nothing without it."""
    from tunemax.search.storage.database import check_writable, open_storage
    from tunemax.search.storage.recovery import reap
    from tunemax.search.storage.removal import delete as delete_questions
    from tunemax.search.storage.removal import doomed, family

    name = arguments.question
    storage = open_storage(meant(arguments, name), create=False)
    check_writable(storage)
    names = family(storage, name)
    there = doomed(storage, names)
    if not arguments.yes:
        raise TunemaxError(f"{name}: this would delete {there.words}; add --yes if you mean it")
    reap(storage, there.studies)
    removed, kept = delete_questions(storage, names)
    print(f"{name}: deleted {removed.words}")
    if kept:
        places = str(kept[0]) + (f" and {counted(len(kept) - 1, 'other folder')}" if kept[1:] else "")
        print(f"{name}: what tunemax has not made stays, in {places}", file=sys.stderr)


def rename(arguments: argparse.Namespace) -> None:
    from tunemax.search.storage.database import check_writable, open_storage
    from tunemax.search.storage.renaming import rename as rename_study

    storage = open_storage(meant(arguments, arguments.study), create=False)
    check_writable(storage)
    rename_study(storage, arguments.study, arguments.name)
    print(f"{arguments.name}: so it is called again")


def gc(arguments: argparse.Namespace) -> None:
    from tunemax.search.storage import transit
    from tunemax.search.storage.damage import Damaged
    from tunemax.search.storage.database import check_writable, open_storage
    from tunemax.search.storage.questions import openable
    from tunemax.search.storage.rows import remove
    from tunemax.search.workers.snapshots import discard, left_over

    named = [opened(arguments, name) for name in arguments.questions]
    storages = [each.storage for each in named] or [open_storage(where, create=False) for where in all_meant(arguments)]
    freed = list[int]()
    for storage in storages:
        check_writable(storage)  # what is written since could still need a snapshot
    for question in named or [each for storage in storages for each in openable(storage)]:
        try:
            freed += [discard(folder) for folder in list(left_over(question))]
            freed += [remove(question.storage, [row]) for row in transit.left_over(question)]
        except Damaged as error:  # of the others they are removed all the same
            print(f"tunemax: {error}", file=sys.stderr)
    print(f"removed {counted(len(freed), 'snapshot')}, {sum(freed) / 1e6:.1f} MB" if freed else "nothing to remove")


def list_(arguments: argparse.Namespace) -> None:
    places = all_meant(arguments)
    rows, lines = list[dict[str, Any]](), list[str]()
    for where in places:
        found, said = _listed(where)
        rows += [{**row, "storage": where} for row in found] if len(places) > 1 else found
        lines += [f"in {where}:", *(f"  {line}" for line in said)] if len(places) > 1 else said
    print_json(rows) if arguments.json else print("\n".join(lines) or "no questions yet")


def _listed(where: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The questions of a storage, for scripts and for people."""
    from tunemax.search.results.leaderboard import leaderboard as rank
    from tunemax.search.storage.attributes import STATES
    from tunemax.search.storage.database import open_storage
    from tunemax.search.storage.questions import load, questions

    storage = open_storage(where, create=False)
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    for name in questions(storage):
        try:
            question = load(storage, name)
            board = rank(question)
        except TunemaxError as error:  # the others are listed all the same
            rows.append({"name": name, "error": str(error)})
            lines.append(str(error))
            continue
        counts = {state: sum(getattr(entry, state) for entry in board.entries) for state in STATES}
        first = None if question.definition.confirms else next((entry for entry in board.entries if entry.best), None)
        against = board.against if first else tuple(filter(None, [board.mixed]))
        row = {"name": name, "candidates": len(board.entries), "best": first.name if first else None, **counts}
        rows.append({**row, "cautions": list(against)})
        lines.append(f"{name}: {_counted(counts)}" + (f"; lowest tuned loss: {first.name}" if first else ""))
        lines += [f"  {sentence}" for sentence in against]
    return rows, lines


def show(arguments: argparse.Namespace) -> None:
    import yaml

    from tunemax.search.question.schema import study_file
    from tunemax.search.results.leaderboard import leaderboard as rank
    from tunemax.search.storage.attributes import STATES
    from tunemax.search.views.writers.terminal import hanging, room

    question = opened(arguments, arguments.question)
    if arguments.yaml:
        print(study_file(question.definition), end="")
        return
    definition, board = json.loads(question.definition.to_json()), rank(question)
    states = {entry.name: {state: getattr(entry, state) for state in STATES} for entry in board.entries}
    if arguments.json:
        print_json({"definition": definition, "trials": states, "cautions": list(question.astray)})
        return
    width = int(min(80, room() - 12))  # YAML breaks a line behind the word that is too much
    print(yaml.safe_dump(definition, sort_keys=False, allow_unicode=True, width=width).rstrip())
    if question.definition.kept:
        print(hanging("", question.definition.kept))
    for name, counts in states.items():
        print(hanging(f"{name}: ", _counted(counts)))
    for sentence in question.astray:
        print(sentence)


def best(arguments: argparse.Namespace) -> None:
    from tunemax.search.results.confirmation import confirmations
    from tunemax.search.results.edges import sentences
    from tunemax.search.results.leaderboard import leaderboard as rank
    from tunemax.search.storage.commands import training, typed
    from tunemax.search.views.words import settings
    from tunemax.search.views.writers.terminal import command, hanging, wrapped

    name, _, candidate = arguments.study.partition("/")
    question = opened(arguments, name)
    if question.definition.confirms:
        of = question.definition.confirms.question
        confirmed = typed(question.storage.url, "study", "leaderboard", of)
        raise TunemaxError(f"{name}: a confirmation has no best trial, only lucky seeds; see {confirmed}")
    board = rank(question)
    names = [entry.name for entry in board.entries]
    if candidate and candidate not in names:
        about = next((sentence for sentence in question.astray if sentence.startswith(f"{arguments.study}: ")), None)
        raise TunemaxError(about or f"{candidate}: no such candidate of {name}{did_you_mean(candidate, names)}")
    own = next((entry for entry in board.entries if entry.best and candidate in ("", entry.name)), None)
    if own is None or own.best is None:
        again = typed(question.storage.url, "study", "run", name)
        raise TunemaxError(f"{arguments.study}: no trial of ours is complete yet; run it with {again}")
    study, found = own.study, own.best
    words = training(found.config)
    if arguments.json:
        result = {"number": found.number, "value": found.value, "params": dict(found.params)}
        cautions = [*question.astray, *filter(None, [board.mixed])]
        print_json({"study": study, **result, "command": words, "cautions": cautions})
        return
    frozen = [(each, each.entry(own.name)) for each in confirmations(question)]
    sure = [
        f"{each.name}: {won.verdict}, compared with {each.reference}" if won.verdict else each.name
        for each, won in frozen
        if won and won.trial == found.number and won.estimate
    ]
    stands = f"tuned; confirmed in {', '.join(sure)}" if sure else "tuned, not confirmed"
    print(hanging(f"{study} trial {found.number}: ", f"validation loss {found.value:.4f} ({stands})"))
    one = (*board.astray, *board.unranked, *filter(None, [board.mixed]))
    against = [*(one if candidate else board.against), *sentences(own.edges)]
    print("\n".join([*(f"  {setting}" for setting in settings(found.params, 6)), *wrapped(*against), command(words)]))


def leaderboard(arguments: argparse.Namespace) -> None:
    from tunemax.search.results.confirmation import tuned
    from tunemax.search.results.findings import gather
    from tunemax.search.views.answer import answer
    from tunemax.search.views.writers.terminal import hanging

    question = tuned(opened(arguments, arguments.question))
    findings = gather(question)
    if arguments.json:
        print_json(findings.to_json())
    else:
        print(f"{hanging('', question.definition.question)}\n\n{answer(findings)}")


def schema(_arguments: argparse.Namespace) -> None:
    from tunemax.search.question.schema import json_schema

    print_json(json_schema())


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)
