"""How stable each candidate trains: what diverged, where a guard acted, and what a wrong learning rate costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial

from tunemax.search.charts.pictures import learning_rates
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.results.confirmation import Confirmation
from tunemax.search.results.leaderboard import Candidate
from tunemax.search.results.sensitivity import lr_sensitivity, rate_curves
from tunemax.search.results.statistics import Share, share
from tunemax.search.storage.attributes import ENDED, GUARDED, HIGHEST_SPIKE, SPIKES, state
from tunemax.search.views import rounding
from tunemax.search.views.document import Section, tabulated

SPIKED = ("with spikes", "spikes", "highest")


def stability(found: Sequence[Candidate], confirmed: Sequence[Confirmation]) -> Section:
    """Shares of runs that diverged or were guarded, of tuning and of each confirmation."""
    shares = ("share", "95 % interval")
    columns = ("candidate", "stage", "runs", "diverged", *shares, "guard acted", *shares, *SPIKED)
    rows = [(candidate.name, "tuning", *_shares(candidate.trials)) for candidate in found]
    for each in confirmed:
        rows += [(entry.candidate, f"confirmed, {each.work}", *_shares(entry.trials)) for entry in each.entries]
    explained = (
        "Trainings that diverged, and trainings in which the variant's guard against overflow acted on some "
        "attention entry where they ended, with Wilson's intervals. In tuning each trial has its own settings; "
        "confirmed runs have the winner's. Spikes: iterations whose training loss was above the cap, which a run "
        "trains through; how many runs had any, how many there were, and the highest loss."
    )
    return Section("Stability", tables=(tabulated(columns, rows, words=("stage",)),), notes=(explained,))


def sensitivity(definition: StudyDefinition, found: Sequence[Candidate]) -> Section:
    """Loss over learning rate at the fixed budget; empty where a study is no grid of learning rates."""
    curves = rate_curves(definition, found)
    if not curves:
        return Section("Learning rate")
    rates = sorted({point.rate for points in curves.values() for point in points})
    rows = []
    for name, points in sorted(curves.items(), key=lambda item: lr_sensitivity(item[1])):
        cells = {point.rate: point.text for point in points}
        best = min(points, key=lambda point: point.mean if math.isfinite(point.mean) else math.inf)
        measured = (cells.get(rate, rounding.NONE) for rate in rates)
        rows.append((name, f"{best.rate:g}", f"{lr_sensitivity(points):.3f}", *measured))
    explained = (
        "Loss at the horizon by learning rate: the mean over seeds ± half of its 95 % interval, and how many runs "
        "diverged. Sensitivity (Wortsman et al., arXiv 2309.14322): how much worse than at the best learning rate a "
        "run is on average over these; a run that diverged counts at its cap, just above guessing evenly."
    )
    table = tabulated(("candidate", "best", "sensitivity", *(f"{rate:g}" for rate in rates)), rows)
    drawn = learning_rates(definition, found)
    return Section("Learning rate", tables=(table,), notes=(explained,), figures=(drawn,))


def _shares(trials: Sequence[FrozenTrial]) -> tuple[str, ...]:
    ended = [trial for trial in trials if state(trial) in ENDED]
    measured = [trial for trial in ended if GUARDED in trial.user_attrs]
    diverged = share(sum(state(trial) == "diverged" for trial in ended), len(ended))
    guarded = share(sum(trial.user_attrs[GUARDED] > 0 for trial in measured), len(measured))
    return (str(len(ended)), *_told(diverged), *_told(guarded), *_spikes(ended))


def _spikes(ended: Sequence[FrozenTrial]) -> tuple[str, str, str]:
    found = [trial.user_attrs for trial in ended if SPIKES in trial.user_attrs]
    highest = max((attrs[HIGHEST_SPIKE] for attrs in found if HIGHEST_SPIKE in attrs), default=None)
    count = sum(attrs[SPIKES] for attrs in found)
    return str(len(found)), str(count), "–" if highest is None else f"{highest:.3g}"


def _told(found: Share) -> tuple[str, str, str]:
    if not found.n:
        return ("–", "–", "–")
    interval = f"{100 * found.low:.0f} … {100 * found.high:.0f} %"
    return (str(found.count), rounding.share(found.count / found.n), interval)
