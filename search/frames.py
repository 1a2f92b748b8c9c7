"""What was found, as data frames and Plotly figures: for notebooks, and for analyses of one's own.

Needs pandas and plotly: ``pip install 'tunemax[notebook]'``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunemax.gpt.errors import TunemaxError
from tunemax.search.charts import pictures, plotly
from tunemax.search.charts.models import Shown
from tunemax.search.charts.picture import Picture
from tunemax.search.results.beside import Asked, Beside, beside
from tunemax.search.results.confirmation import Confirmation, confirmation, confirmations, tuned
from tunemax.search.results.findings import gather
from tunemax.search.results.leaderboard import candidates, rank
from tunemax.search.storage import attributes
from tunemax.search.storage.lookup import storage_of
from tunemax.search.storage.questions import Question, load_from
from tunemax.search.views import models as views
from tunemax.search.views import pages, tables
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


@dataclass(frozen=True, eq=False)
class Compared:
    """Models side by side: printed, it is what `tunemax compare` prints."""

    found: Beside
    """All numbers, target by target: see `tunemax.search.results.beside`."""
    pictures: Mapping[str, Picture]

    def __str__(self) -> str:
        return views.answer(self.found, self.pictures)

    @property
    def table(self) -> pandas.DataFrame:
        """A row a model: what it is, and what it expects of the text, in full precision; shares between 0 and 1."""
        rows = []
        for side in self.found.sides:
            for model in side.models:
                own = {"name": side.name, "seed": model.seed, "parameters": model.parameters, "tokens": model.tokens}
                own |= {"flops": model.flops, "bits_a_byte": model.bits_a_byte, "guarded": model.guarded}
                if self.found.alike:
                    top = {f"top_{k}": model.read.accuracy(k) for k in sorted({1, self.found.asked.k})}
                    own |= {"loss": model.read.loss, **top, "calibration_error": model.read.calibration_error()}
                rows.append(own | {"tokens_per_s": model.read.tokens_per_s})
        frame: pandas.DataFrame = _package("pandas").DataFrame(rows).set_index("name")
        return frame

    @property
    def figures(self) -> dict[str, Figure]:
        """Its pictures, as Plotly's objects."""
        objects = _package("plotly.graph_objects")
        return {name: objects.Figure(plotly.draw(picture)) for name, picture in self.pictures.items()}

    def to_json(self) -> dict[str, Any]:
        """All but the curves, as plain values."""
        return views.to_json(self.found)

    def write(self, folder: str | Path) -> list[Path]:
        """Write compare.html, and each picture as SVG and PNG; gives their paths. Raises TunemaxError if it cannot."""
        return pages.write(self.found, self.pictures, Path(folder))


def compare(
    *what: str | Path,
    storage: str | None = None,
    curves: Sequence[str] = (),
    shown: Shown | None = None,
    **asked: Any,
) -> Compared:
    """Read trained models on the same text, side by side.

    Args:
        what: two or more: folders of runs, checkpoints, studies for their best trials, trials (`question/candidate#7`),
            or confirmed candidates with all their seeds (`question.confirmed/candidate`). The first is what others are
            compared with.
        storage: of trials; by default as the command line finds it.
        curves: logged quantities to draw; by default the validation loss.
        shown: over what, on which axes: see `tunemax.search.charts.models.Shown`.
        asked: see `tunemax.search.results.beside.Asked`: part, tokens, k, dataset, prompts, length, temperature, seed,
            examples.

    Raises TunemaxError for what cannot be compared.
    """
    given = Asked(**{**asked, "prompts": tuple(map(os.fsencode, asked.get("prompts", ())))})
    found = beside([str(each) for each in what], given, storage)
    return Compared(found, views.drawn(found, curves, shown))


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
