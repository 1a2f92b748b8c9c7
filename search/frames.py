"""What a question has found, as data frames and Plotly figures: for notebooks, and for analyses of one's own.

Needs pandas and plotly: ``pip install 'tunemax[notebook]'``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tunemax.gpt.errors import TunemaxError
from tunemax.search.charts import pictures, plotly
from tunemax.search.results.confirmation import Confirmation, confirmation, confirmations, tuned
from tunemax.search.results.findings import gather
from tunemax.search.results.leaderboard import candidates, rank
from tunemax.search.storage import attributes
from tunemax.search.storage.lookup import storage_of
from tunemax.search.storage.questions import Question, load_from
from tunemax.search.views import tables
from tunemax.search.views.answer import answer as text

if TYPE_CHECKING:
    import pandas
    from plotly.graph_objects import Figure

COUNTED = {
    "iterations": attributes.ITERATIONS,
    "tokens": attributes.TOKENS,
    "flops": attributes.FLOPS,
    "parameters": attributes.PARAMETERS,
    "duplicate_of": attributes.DUPLICATE_OF,
}
"""Column → the attribute of a trial that it shows."""


def answer(name: str, storage: str | None = None) -> str:
    """What `tunemax study leaderboard` prints: what is settled, the figures, and what is open.

    name, storage: as in all functions here: a question, or one that confirms it; a path or an SQLAlchemy URL, by
    default as the command line finds it. Raises TunemaxError, as they all do, for an unknown question and for a package
    that is missing.
    """
    return text(gather(tuned(_question(name, storage))))


def leaderboard(name: str, storage: str | None = None) -> pandas.DataFrame:
    """A row a candidate, best first: what tuning found, what it cost, and each confirmation, in full precision.

    The columns are those of the report's CSV file.
    """
    question = _question(name, storage)
    board = rank(question, candidates(question))
    table = tables.figures(board, _confirmed(question))
    columns = {column.name or column.head: [column.value(row) for row in table.of] for column in table.columns}
    return _package("pandas").DataFrame(columns).set_index("candidate")


def trials(name: str, storage: str | None = None) -> pandas.DataFrame:
    """A row a trial: where it stands, its loss in nats a token, what it cost, when it ran, and its parameters.

    state is one of complete, pruned, diverged, duplicate, failed, cancelled, running, waiting. A parameter that a trial
    does not have is missing; `final_…` is the mean value that a learnable ended with.
    """
    rows = []
    for candidate in candidates(_question(name, storage)):
        for trial in candidate.trials:
            given = trial.user_attrs
            rows.append(
                {
                    "candidate": candidate.name,
                    "trial": trial.number,
                    "state": attributes.state(trial),
                    "loss": trial.value if trial.state.is_finished() else None,
                    **{column: given.get(key) for column, key in COUNTED.items()},
                    "started": trial.datetime_start,
                    "ended": trial.datetime_complete,
                    **trial.params,
                    **{key: value for key, value in given.items() if key.startswith(attributes.LEARNED)},
                }
            )
    return _frame(rows, ["candidate", "trial"])


def curves(name: str, storage: str | None = None) -> pandas.DataFrame:
    """A row an evaluation of a trial: the candidate, the trial, its state, the iteration, the loss in nats a token."""
    question = _question(name, storage)
    rows = [
        {
            "candidate": candidate.name,
            "trial": trial.number,
            "state": attributes.state(trial),
            "iteration": iteration,
            "loss": loss,
        }
        for candidate in candidates(question)
        for trial in candidate.trials
        for iteration, loss in sorted(attributes.losses(trial, question.definition.budget).items())
    ]
    return _frame(rows, ["candidate", "trial", "state", "iteration", "loss"])


def figures(name: str, storage: str | None = None) -> dict[str, Figure]:
    """The figures of the dashboard by their names, as Plotly's objects: show them, or change them."""
    question = _question(name, storage)
    found = candidates(question)
    board = rank(question, found)
    shown = pictures.shared(question.definition, board, found, _confirmed(question))
    drawn = {name: plotly.draw(picture) for name, picture in shown.items()}
    for candidate in found:
        if panels := pictures.learnables(candidate):
            drawn[f"learnables of {candidate.name}"] = plotly.draw(*panels)
    objects = _package("plotly.graph_objects")
    return {name: objects.Figure(figure) for name, figure in drawn.items()}


def _question(name: str, storage: str | None) -> Question:
    return load_from(storage or storage_of(name), name)


def _confirmed(question: Question) -> list[Confirmation]:
    """What has been confirmed of a question; of one that confirms another, that."""
    return [confirmation(question)] if question.definition.confirms else confirmations(question)


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pandas.DataFrame:
    """A frame that has these columns also where it has no rows."""
    frame = _package("pandas").DataFrame(rows)
    return frame if rows else frame.reindex(columns=columns)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise TunemaxError(f"{package}: not installed; pip install 'tunemax[notebook]'") from None
