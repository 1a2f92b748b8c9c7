"""What a question says of itself in optuna-dashboard: an answer, a note and a few figures on each of its studies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import optuna

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.visible import visible
from tunemax.search.charts import pictures, plotly, png
from tunemax.search.charts.plotly import Figure
from tunemax.search.results.confirmation import Confirmation, confirmation, confirmations, tuned
from tunemax.search.results.edges import edges, sentences
from tunemax.search.results.findings import cautions
from tunemax.search.results.leaderboard import Candidate, Leaderboard, candidates, rank
from tunemax.search.results.pruning import fidelity
from tunemax.search.storage.artifacts import attach
from tunemax.search.storage.attributes import ANSWER
from tunemax.search.storage.database import study_id
from tunemax.search.storage.patience import LONG, Patience, StorageLost
from tunemax.search.storage.questions import Question, load_from
from tunemax.search.storage.urls import storage_errors
from tunemax.search.views.dashboard import notes

EVERY = 30.0
"""Seconds between two versions while a question is worked on."""
YOURS = "*What you write below this line stays.*"
PUBLISHED = "tunemax:published"
"""System attribute of a study: digests of its figures, so that one that has not changed is not written again."""


def publish(question: Question) -> None:
    """Bring the answer, the note and the figures of all siblings up to date. What has not changed is not written.

    Raises TunemaxError if the storage cannot be read or written.
    """
    with storage_errors(question.storage.url):
        found = candidates(question)
        board = rank(question, found)
        confirmed = [confirmation(question)] if question.definition.confirms else confirmations(question)
        shared = _shared(question, board, found, confirmed)
        studies = {name: question.study(name) for name in question.siblings}
        warnings, against = fidelity(question.definition, found).warnings, _cautions(question, board, confirmed)
        answer = _answer(board, confirmed)
        for name, study in studies.items():
            own = [candidate for candidate in found if candidate.study == name]
            _save_figures(question, study, shared | _learnables(own, several=question.variant_is_dimension))
            if study.user_attrs.get(ANSWER) != answer:
                study.set_user_attr(ANSWER, answer)
            if question.definition.confirms:
                _save_note(study, notes.of_a_confirmation(question, confirmed[0], name, against))
            else:
                _save_note(study, notes.of_a_tuning(question, board, confirmed, studies, name, (*against, *warnings)))


def _answer(board: Leaderboard, confirmed: Sequence[Confirmation]) -> str:
    """What is known so far in a sentence or two, where there is no room for more."""
    if confirmed:
        return confirmed[0].verdict
    best = next((entry for entry in board.entries if entry.best), None)
    ahead = f"{best.name} is ahead with {best.best.value:.4f}. " if best and best.best and board.entries[1:] else ""
    return f"{ahead}{board.sentence}"


def _cautions(question: Question, board: Leaderboard, confirmed: Sequence[Confirmation]) -> tuple[str, ...]:
    """What stands against the ranks and the winners of a question, or against those that it confirms."""
    if not question.definition.confirms:
        return cautions(question, board, confirmed)
    space_in = tuned(question).definition.space_in
    at_ends = sentences(edge for e in confirmed[0].entries for edge in edges(e.candidate, e.config, space_in(e.source)))
    return (*question.astray, *filter(None, [confirmed[0].mixed]), *at_ends)


def try_to_publish(where: str, name: str, patience: Patience | None = None) -> str | None:
    """Open a question and publish it. What goes wrong is returned in one line: results are safe without it."""
    try:
        question = load_from(where, name, patience)
        try:
            publish(question)
        finally:
            question.storage.engine.dispose()
    except TunemaxError as error:
        return str(error)
    return None


@contextlib.contextmanager
def publishing(where: str, name: str) -> Iterator[None]:
    """Publish a question from a thread now and then while the block runs, and a last time at its end.

    The storage is waited for if the block has ended well, and what fails is told unless somebody has interrupted it. If
    it is lost nothing is published: another one may be in its place.
    """
    ended, interrupted = threading.Event(), False

    def now_and_then() -> None:
        while not ended.wait(EVERY):
            try_to_publish(where, name)

    thread = threading.Thread(target=now_and_then, daemon=True)
    thread.start()
    last: Patience | None = Patience()
    try:
        yield
        last = Patience(LONG)
    except StorageLost:
        last = None
        raise
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        ended.set()
        thread.join()
        if last and (fault := try_to_publish(where, name, last)) and not interrupted:
            print(f"tunemax: the dashboard's note and figures are not up to date; {fault}", file=sys.stderr)


def _save_note(study: optuna.Study, body: str) -> None:
    """Replace our part of the note; what somebody has written below the line stays."""
    from optuna_dashboard import get_note, save_note

    before = get_note(study)
    theirs = before.partition(YOURS)[2] if YOURS in before else f"\n\n{before}".rstrip()
    after = f"{visible(body)}\n\n---\n\n{YOURS}{theirs}"
    if after != before:
        save_note(study, after)


@dataclass(frozen=True)
class Drawing:
    """A figure of the dashboard, and the same as PNG under the names of their files, drawn when they are needed."""

    figure: Figure
    stills: Mapping[str, Callable[[], bytes]]


def _shared(
    question: Question, board: Leaderboard, found: Sequence[Candidate], confirmed: Sequence[Confirmation]
) -> dict[str, Drawing]:
    """What all studies of a question show. A still is drawn once for all of them."""
    shown = pictures.shared(question.definition, board, found, confirmed)
    stills = {name: {f"{name}.png": cache(partial(png.draw, picture))} for name, picture in shown.items()}
    return {name: Drawing(plotly.draw(picture), stills[name]) for name, picture in shown.items()}


def _learnables(found: Sequence[Candidate], *, several: bool) -> dict[str, Drawing]:
    """What one study shows of its own candidate, or of several."""
    drawn = {}
    for candidate in found:
        if panels := pictures.learnables(candidate):
            end = f".{candidate.name}" if several else ""
            stills = {f"{panel.y.quantity}{end}.png": partial(png.draw, panel) for panel in panels}
            drawn[f"learnables{end}"] = Drawing(plotly.draw(*panels), stills)
    return drawn


def _save_figures(question: Question, study: optuna.Study, drawn: Mapping[str, Drawing]) -> None:
    """Write the figures that have changed since they were last written, and their stills."""
    from optuna_dashboard import save_plotly_graph_object

    storage = question.cached
    key = study_id(storage, study.study_name)
    published = storage.get_study_system_attrs(key).get(PUBLISHED)
    before: dict[str, str] = published if isinstance(published, dict) else {}
    dumps = partial(json.dumps, separators=(",", ":"), allow_nan=False)
    texts = {name: dumps(drawing.figure) for name, drawing in drawn.items()}
    after = {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in texts.items()}
    for name, text in texts.items():
        if before.get(name) == after[name]:
            continue
        save_plotly_graph_object(study, _Drawn(text), graph_object_id=name)
        for file, still in drawn[name].stills.items():
            attach(storage, question.storage.url, key, file, still())
    if before != after:
        storage.set_study_system_attr(key, PUBLISHED, after)


class _Drawn:
    """A figure as `save_plotly_graph_object` asks for it: it wants no more than its text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def to_json(self) -> Any:
        return self._text
