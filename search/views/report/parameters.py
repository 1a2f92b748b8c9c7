"""What the parameters of each candidate have to do with its loss, and where those that SGD moves have ended."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

from optuna.exceptions import ExperimentalWarning

from tunemax.search.charts import pictures
from tunemax.search.charts.picture import Picture
from tunemax.search.question.counting import counted
from tunemax.search.results.confirmation import Confirmation, Confirmed
from tunemax.search.results.findings import Findings
from tunemax.search.results.leaderboard import Candidate
from tunemax.search.results.statistics import estimate
from tunemax.search.storage.attributes import LEARNED, RATE, state
from tunemax.search.storage.questions import Question
from tunemax.search.views.document import Section, tabulated

ENOUGH = 10
"""Complete trials before anything is said of importance."""


def learnables(findings: Findings) -> Section:
    """Where the scalars that SGD moves went: in the best trial, and where they ended over the seeds."""
    rows = [row for each in findings.confirmations for entry in each.entries for row in _ends(each, entry)]
    heads = ("candidate", "iterations", "learnable", "start", "end, mean of seeds", "95 % interval")
    return Section(
        "Learnables",
        tables=(tabulated(heads, rows),) if rows else (),
        notes=("Means over layers and heads at the end of each confirmed run.",) if rows else (),
        figures=tuple(picture for candidate in findings.candidates for picture in pictures.learnables(candidate)),
    )


def _ends(confirmation: Confirmation, entry: Confirmed) -> list[tuple[str, ...]]:
    runs = [trial.user_attrs for trial in entry.trials if state(trial) == "complete"]
    names = sorted({name for run in runs for name in run if name.startswith(LEARNED) and name != RATE})
    rows: list[tuple[str, ...]] = []
    for name in names:
        field = name.removeprefix(LEARNED)
        start = entry.config.get(f"{entry.config.get('softmax_variant')}.{field}")
        began = f"{start:.4g}" if isinstance(start, float) else str(start)
        if mean := estimate([run[name] for run in runs if name in run]):
            ended = (f"{mean.mean:.4g}", f"{mean.low:.4g} … {mean.high:.4g}")
            rows.append((entry.candidate, confirmation.work, field, began, *ended))
    return rows


def importance(findings: Findings) -> Section:
    """Which parameters matter, by PED-ANOVA."""
    figures: list[Picture] = []
    left_out = []
    for hue, candidate in enumerate(findings.candidates):
        shares = _shares(findings.question, candidate)
        if isinstance(shares, str):
            left_out.append(f"{candidate.name}: {shares}.")
        else:
            figures.append(pictures.importance(candidate, hue, shares))
    explained = (
        "PED-ANOVA: how much knowing a parameter says of whether a trial is among the best tenth. It needs many trials "
        "to be exact."
    )
    return Section("Parameter importance", items=tuple(left_out), notes=(explained,), figures=tuple(figures))


def _shares(question: Question, candidate: Candidate) -> Mapping[str, float] | str:
    """Parameter → importance; or why it cannot be given."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    complete = [trial for trial in candidate.trials if state(trial) == "complete"]
    if len(complete) < ENOUGH:
        return f"{counted(len(complete), 'complete trial')}, at least {ENOUGH} are needed"
    if question.variant_is_dimension:
        return "variants share a study, whose importance mixes all of them"
    if len({trial.value for trial in complete}) == 1:
        return "all trials have the same loss"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            shares = get_param_importances(question.study(candidate.study), evaluator=PedAnovaImportanceEvaluator())
        except (ValueError, RuntimeError) as error:
            return str(error).splitlines()[0].rstrip(".")
    known = {name: value for name, value in shares.items() if math.isfinite(value)}
    return known if any(known.values()) else "no parameter stands out"


def slices(findings: Findings) -> Section:
    figures = [picture for hue, each in enumerate(findings.candidates) for picture in pictures.slices(each, hue)]
    sentences = ("Loss of every trial over each of its numeric parameters.",) if figures else ()
    return Section("Slices", sentences=sentences, figures=tuple(figures))
