"""The Markdown notes of a question's studies in optuna-dashboard."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from sqlalchemy.engine import make_url

from tunemax.search.question.counting import counted
from tunemax.search.question.stages import MOST_SEEDS
from tunemax.search.results.confirmation import Confirmation
from tunemax.search.results.leaderboard import Entry, Leaderboard
from tunemax.search.results.remedies import asked, remedies
from tunemax.search.storage.database import study_id
from tunemax.search.storage.questions import Question
from tunemax.search.storage.urls import shown
from tunemax.search.views import tables
from tunemax.search.views.claims import claims
from tunemax.search.views.document import Column, Table, tabulated
from tunemax.search.views.words import settings
from tunemax.search.views.writers.markdown import code, plain, rows

ROOM = "\u00a0\u00a0"
ALL = "[All questions](/)"
"""The first page of `tunemax dashboard`; of optuna-dashboard by itself, its list of studies."""


def of_a_tuning(
    question: Question,
    board: Leaderboard,
    confirmed: Sequence[Confirmation],
    studies: dict[str, optuna.Study],
    name: str,
    warnings: Sequence[str] = (),
) -> str:
    """Of one study: the question, how far the answer can be trusted, the leaderboard, and how to go on.

    warnings: sentences on what stands against its ranks and winners, and on its pruning.
    """
    ids = {study: study_id(question.cached, study) for study in studies}
    definition = question.definition
    data = plain(definition.data.rstrip("/").rpartition("/")[2])
    budget = f"{definition.budget.words}, {counted(definition.budget.trials, 'trial')} for each candidate"
    how = f"sampler {definition.sampler.name}, pruner {definition.pruner.name}, seed {definition.seed}"
    compare = f"[Compare all {len(ids)} studies](/dashboard/compare-studies?ids={','.join(map(str, ids.values()))})"
    lines = [
        *_answer(board.question, confirmed[0].verdicts if confirmed else (board.sentence,)),
        f"{data}, {plain(budget)}, {plain(how)}.",
        "",
        *_rule(question),
        *(line for each in confirmed for line in _confirmed(each, f"Confirmed in {each.name}", confirmed[0].verdict)),
        *_explained(confirmed),
        *(["## Tuned", ""] if confirmed else []),
        *_table(_ranking(board, ids, name)),
        "",
        tables.RANKED,
        "",
        *_list(compare if len(ids) > 1 else "", ALL),
        *_cautions(warnings),
        *(["## Best settings", "", *_table(_settings(board, ids)), ""] if any(e.best for e in board.entries) else []),
        *_go_on(_commands(question, board, confirmed, name)),
    ]
    return "\n".join(lines)


def _answer(asked: str, sentences: Sequence[str]) -> list[str]:
    """The question, the sentence that counts, and more of them as a list."""
    first, *more = sentences
    return [f"# {plain(asked)}", "", f"**{plain(first)}**", "", *_list(*map(plain, more))]


def _list(*sentences: str) -> list[str]:
    """An item each, in Markdown: lines beside each other would be one paragraph, in which a sentence has no end."""
    items = [f"- {sentence}" for sentence in sentences if sentence]
    return [*items, ""] if items else []


def _cautions(warnings: Sequence[str]) -> list[str]:
    return ["## To be careful with", "", *_list(*map(plain, warnings))] if warnings else []


def _go_on(commands: Sequence[str]) -> list[str]:
    return ["## Go on", "", "```", *commands, "```"]


def _rule(question: Question) -> list[str]:
    rule = question.definition.rule
    return [plain(rule), ""] if rule else []


def _table(table: Table[Any]) -> list[str]:
    """The dashboard leaves no room between cells, so each brings some."""
    return rows(table, lambda text: f"{ROOM}{text}")


def _ranking(board: Leaderboard, ids: Mapping[str, int], name: str) -> Table[Entry]:
    """The leaderboard with links to the studies; the one whose note this is in bold."""

    def link(entry: Entry) -> str:
        return f"[{f'**{entry.name}**' if entry.study == name else entry.name}](/dashboard/studies/{ids[entry.study]})"

    places = {entry.name: place for place, entry in enumerate(board.entries, 1)}
    columns = (
        Column[Entry]("", lambda entry: places[entry.name]),
        Column[Entry]("candidate", link, words=True),
        *tables.LOSSES,
        *tables.COST,
        *tables.ENDED,
        *tables.failures(board),
        tables.RUNNING,
        tables.WAITING,
        tables.STEPS,
    )
    return Table(columns, board.entries)


def _settings(board: Leaderboard, ids: Mapping[str, int]) -> Table[Sequence[str]]:
    """The best trials with links to them."""
    found = []
    for entry in board.entries:
        if best := entry.best:
            link = f"[{best.number}](/dashboard/studies/{ids[entry.study]}/trials?numbers={best.number})"
            values = ", ".join(map(code, settings(best.params, 4))) or "defaults"
            found.append((entry.name, link, values))
    return tabulated(("candidate", "trial", "settings"), found, words=("settings",))


def _commands(question: Question, board: Leaderboard, confirmed: Sequence[Confirmation], study: str) -> list[str]:
    """What to type next."""
    longer = 4 * (question.definition.budget.horizon or _iterations(board, study))
    next_stage = [] if board.left or any(not each.left for each in confirmed) else [["study", "confirm", question.name]]
    commands = [
        ["study", "run" if board.left else "leaderboard", question.name],
        *next_stage,
        ["study", "best", study],
        ["train", "--from", study, *(["--max_iters", str(longer)] if longer else [])],
        ["report", question.name],
        ["dashboard"],
    ]
    return _in_storage(question, commands)


def _iterations(board: Leaderboard, study: str) -> int:
    """Of the best trial of a study; 0 while there is none."""
    found = (entry.best for entry in board.entries if entry.study == study)
    return next((int(best.config["max_iters"]) for best in found if best), 0)


def _in_storage(question: Question, commands: Sequence[list[str]]) -> list[str]:
    """Commands with the storage if it is a file; a server's URL may hold a password."""
    url = make_url(question.storage.url)
    storage = ["--storage", shown(url)] if url.get_backend_name() == "sqlite" else []
    lines = [shlex.join(["tunemax", *words, *storage]) for words in commands]
    return lines if storage else ["export TUNEMAX_STORAGE=…  # the URL of this database", *lines]


def of_a_confirmation(question: Question, found: Confirmation, name: str, warnings: Sequence[str] = ()) -> str:
    """Of the study of one winner: what is confirmed, the comparison, and how to go on."""
    entry = next(entry for entry in found.entries if entry.study == name)
    same = " Candidates share their seeds: the same initial values where the models agree, the same order of the data."
    again = asked(found, found.seeds if found.left else min(2 * found.seeds, MOST_SEEDS))
    lines = [
        *_answer(question.definition.question, found.verdicts),
        f"{entry.source} trial {entry.trial}, trained anew on {counted(len(entry.trials), 'fresh seed')} for "
        f"{found.work}, and evaluated on validation text that no tuning has seen.{'' if found.alone else same}",
        "",
        *_rule(question),
        *_confirmed(found, "Confirmed", found.verdict),
        *_explained([found]),
        *_list(ALL),
        *_cautions(warnings),
        *_go_on(_in_storage(question, [again, ["study", "leaderboard", found.question]])),
    ]
    return "\n".join(lines)


def _confirmed(confirmation: Confirmation, title: str, answer: str) -> list[str]:
    """A section with what is settled, the comparison, and what is not settled. answer: what is said already."""
    said = claims(confirmation)
    return [
        f"## {plain(title)}",
        "",
        *([] if said.head == answer else [plain(said.head), ""]),
        *_list(*map(plain, said.settled)),
        *_table(tables.confirmed_with_seeds(confirmation)),
        "",
        *_list(*map(plain, (*said.open, *remedies(confirmation)))),
    ]


def _explained(confirmed: Sequence[Confirmation]) -> list[str]:
    """How the tables are to be read: once for all of them."""
    sentences = dict.fromkeys(f"{tables.explained(each)}." for each in confirmed)
    return [line for sentence in sentences for line in (plain(sentence), "")]
