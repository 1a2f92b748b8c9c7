"""What a question says of itself in optuna-dashboard: one note and a few figures on each of its studies, kept up to date in place."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from sqlalchemy.engine import make_url

from gpt.errors import TunemaxError
from search import figures
from search.figures import Figure
from search.leaderboard import Candidate, Entry, Leaderboard, candidates, rank
from search.question import Question, load_from
from search.storage import shown, storage_errors

EVERY = 30.0
"""Seconds between two versions while a question is worked on."""
YOURS = "*What you write below this line stays.*"
ROOM = "\u00a0\u00a0"
PUBLISHED = "tunemax:published"
"""System attribute of a study: digests of its figures, so that one that has not changed is not written again."""


def publish(question: Question) -> None:
    """Bring the note and the figures of all siblings up to date. What has not changed is not written.

    Raises TunemaxError if the storage cannot be read or written.
    """
    with storage_errors(question.storage.url):
        found = candidates(question)
        board = rank(question, found)
        shared = {"curves": figures.learning_curves(found), "leaderboard": figures.ranges(board, found)}
        studies = {name: question.study(name) for name in question.siblings}
        for name, study in studies.items():
            own = {
                f"learnables.{candidate.name}" if question.variant_is_dimension else "learnables": figure
                for candidate in found
                if candidate.study == name and (figure := figures.trajectories(candidate))
            }
            _save_figures(study, {**shared, **own})
            _save_note(study, note(question, board, found, studies, name))


def try_to_publish(where: str, name: str) -> str | None:
    """Open a question and publish it. What goes wrong is returned in one line: results are safe without it."""
    try:
        question = load_from(where, name)
        try:
            publish(question)
        finally:
            question.storage.engine.dispose()
    except TunemaxError as error:
        return str(error)
    return None


@contextlib.contextmanager
def publishing(where: str, name: str) -> Iterator[None]:
    """Publish a question from a thread now and then while the block runs, and a last time at its end."""
    ended = threading.Event()

    def now_and_then() -> None:
        while not ended.wait(EVERY):
            try_to_publish(where, name)

    thread = threading.Thread(target=now_and_then, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if fault := try_to_publish(where, name):
            print(f"tunemax: the dashboard's note and figures are not up to date; {fault}", file=sys.stderr)


def note(question: Question, board: Leaderboard, found: Sequence[Candidate], studies: dict[str, optuna.Study], name: str) -> str:
    """The Markdown of one study: the question, how far the answer can be trusted, the leaderboard, and how to go on."""
    ids = {study: opened._study_id for study, opened in studies.items()}
    definition = question.definition
    sure = board.verdict[0].upper() + board.verdict[1:]
    data = definition.data.rstrip("/").rpartition("/")[2]
    budget = f"{definition.budget.horizon:,} iterations, {definition.budget.trials} trials for each candidate"
    plan = f"{data}, {budget}, sampler {definition.sampler.name}, pruner {definition.pruner.name}, seed {definition.seed}."
    titles = ("", "candidate", "best", "top 5", "complete", "pruned", "diverged", "running", "waiting", "steps")
    rows = [_row(place, entry, ids[entry.study], entry.study == name) for place, entry in enumerate(board.entries, 1)]
    settings = [_cells((entry.name, _trial_link(entry, ids[entry.study]), _settings(entry))) for entry in board.entries if entry.best]
    compare = ",".join(map(str, ids.values()))
    lines = [
        f"# {board.question}",
        "",
        f"**{sure}**",
        "",
        plan,
        "",
        _cells(titles),
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *rows,
        "",
        "Validation loss in nats a token, at the horizon: of the best trial, and the median of the best five. Steps: of all trials.",
        *(["", f"[Compare all {len(ids)} studies](/dashboard/compare-studies?ids={compare})"] if len(ids) > 1 else []),
        *(["", "## Best settings", "", _cells(("candidate", "trial", "settings")), "|---|--:|---|", *settings] if settings else []),
        "",
        "## Go on",
        "",
        "```",
        *_commands(question, board, name),
        "```",
    ]
    return "\n".join(lines)


def _row(place: int, entry: Entry, study_id: int, here: bool) -> str:
    losses = ["–" if loss is None else f"{loss:.4f}" for loss in (entry.best and entry.best.value, entry.median_of_top)]
    counts = (entry.complete, entry.pruned, entry.diverged, entry.running, entry.waiting, entry.member_steps)
    name = f"[{f'**{entry.name}**' if here else entry.name}](/dashboard/studies/{study_id})"
    return _cells((str(place), name, *losses, *(f"{count:,}" for count in counts)))


def _cells(cells: Sequence[str]) -> str:
    """A row of a table. The dashboard leaves no room between cells, so each brings some."""
    return "|" + "|".join(f" {ROOM}{cell} " for cell in cells) + "|"


def _trial_link(entry: Entry, study_id: int) -> str:
    assert entry.best is not None
    return f"[{entry.best.number}](/dashboard/studies/{study_id}/trials?numbers={entry.best.number})"


def _settings(entry: Entry) -> str:
    assert entry.best is not None
    values = (f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in entry.best.params.items())
    return ", ".join(f"`{value}`" for value in values) or "defaults"


def _commands(question: Question, board: Leaderboard, study: str) -> list[str]:
    """What to type next, with the storage if it is a file; a server's URL may hold a password."""
    url = make_url(question.storage.url)
    storage = ["--storage", shown(url)] if url.get_backend_name() == "sqlite" else []
    longer = str(4 * question.definition.budget.horizon)
    commands = [
        ["study", "run" if board.left else "leaderboard", question.name],
        ["study", "best", study],
        ["train", "--from", study, "--max_iters", longer],
        ["dashboard"],
    ]
    lines = [shlex.join(["tunemax", *words, *storage]) for words in commands]
    return lines if storage else ["export TUNEMAX_STORAGE=…  # the URL of this database", *lines]


def _save_note(study: optuna.Study, body: str) -> None:
    """Replace our part of the note; what somebody has written below the line stays."""
    from optuna_dashboard import get_note, save_note

    before = get_note(study)
    theirs = before.partition(YOURS)[2] if YOURS in before else f"\n\n{before}".rstrip()
    after = f"{body}\n\n---\n\n{YOURS}{theirs}"
    if after != before:
        save_note(study, after)


def _save_figures(study: optuna.Study, drawn: dict[str, Figure]) -> None:
    from optuna_dashboard import save_plotly_graph_object

    storage, study_id = study._storage, study._study_id
    before: dict[str, str] = storage.get_study_system_attrs(study_id).get(PUBLISHED, {})
    texts = {name: json.dumps(figure, separators=(",", ":"), allow_nan=False) for name, figure in drawn.items()}
    after = {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in texts.items()}
    for name, text in texts.items():
        if before.get(name) != after[name]:
            save_plotly_graph_object(study, _Drawn(text), graph_object_id=name)
    if before != after:
        storage.set_study_system_attr(study_id, PUBLISHED, after)


class _Drawn:
    """A figure as `save_plotly_graph_object` asks for it: it wants no more than its text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def to_json(self) -> Any:
        return self._text
