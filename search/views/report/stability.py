"""How stable each candidate trains: what diverged, where a guard acted, and what a wrong learning rate costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial

from tunemax.search.charts.document import Figure, Section, Table
from tunemax.search.charts.report import LOSS, WIDTH, Hues
from tunemax.search.charts.svg import Axis, Plot
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.results.confirmation import Confirmation
from tunemax.search.results.leaderboard import Candidate
from tunemax.search.results.sensitivity import AtRate, lr_sensitivity, rate_curves
from tunemax.search.results.statistics import Share, share
from tunemax.search.storage.attributes import GUARDED, state

ENDED = ("complete", "pruned", "diverged")


def stability(found: Sequence[Candidate], confirmed: Sequence[Confirmation]) -> Section:
    """Shares of runs that diverged or were guarded, of tuning and of each confirmation."""
    columns = (
        "candidate",
        "stage",
        "runs",
        "diverged",
        "share",
        "95 % interval",
        "guard acted",
        "share ",
        "95 % interval ",
    )
    rows = [(candidate.name, "tuning", *_shares(candidate.trials)) for candidate in found]
    for each in confirmed:
        rows += [(entry.candidate, f"confirmed, {each.horizon:,}", *_shares(entry.trials)) for entry in each.entries]
    explained = (
        "Trainings that diverged, and trainings in which the variant's guard against overflow acted on some "
        "attention entry where they ended, with Wilson's intervals. In tuning each trial has its own settings; "
        "confirmed runs have the winner's."
    )
    return Section("Stability", "", (explained,), (), (Table(columns, tuple(rows), frozenset({"stage"})),))


def sensitivity(definition: StudyDefinition, found: Sequence[Candidate], hues: Hues) -> Section:
    """Loss over learning rate at the fixed budget; empty where a study is no grid of learning rates."""
    curves = rate_curves(definition, found)
    if not curves:
        return Section("Learning rate")
    rates = sorted({point.rate for points in curves.values() for point in points})
    rows = []
    for name, points in sorted(curves.items(), key=lambda item: lr_sensitivity(item[1])):
        cells = {point.rate: _cell(point) for point in points}
        best = min(points, key=lambda point: point.mean if math.isfinite(point.mean) else math.inf)
        rows.append(
            (name, f"{best.rate:g}", f"{lr_sensitivity(points):.3f}", *(cells.get(rate, "–") for rate in rates))
        )
    explained = (
        "Loss at the horizon by learning rate: the mean over seeds ± half of its 95 % interval, and how many runs "
        "diverged. Sensitivity (Wortsman et al., arXiv 2309.14322): how much worse than at the best learning rate a "
        "run is on average over these; a run that diverged counts at its cap, just above guessing evenly."
    )
    table = Table(("candidate", "best", "sensitivity", *(f"{rate:g}" for rate in rates)), tuple(rows))
    return Section("Learning rate", "", (explained,), (_drawn(curves, hues),), (table,))


def _shares(trials: Sequence[FrozenTrial]) -> tuple[str, ...]:
    ended = [trial for trial in trials if state(trial) in ENDED]
    measured = [trial for trial in ended if GUARDED in trial.user_attrs]
    diverged = share(sum(state(trial) == "diverged" for trial in ended), len(ended))
    guarded = share(sum(trial.user_attrs[GUARDED] > 0 for trial in measured), len(measured))
    return (str(len(ended)), *_told(diverged), *_told(guarded))


def _told(found: Share) -> tuple[str, str, str]:
    if not found.n:
        return ("–", "–", "–")
    return (
        str(found.count),
        f"{100 * found.count / found.n:.0f} %",
        f"{100 * found.low:.0f} … {100 * found.high:.0f} %",
    )


def _cell(point: AtRate) -> str:
    lost = f"{len(point.caps)} of {len(point.caps) + len(point.losses)} diverged" if point.caps else ""
    if not point.losses:
        return lost
    mean = f"{point.mean:.4f}" + (f" ±{(point.interval.high - point.interval.low) / 2:.4f}" if point.interval else "")
    return f"{mean}, {lost}" if lost else mean


def _drawn(curves: Mapping[str, Sequence[AtRate]], hues: Hues) -> Figure:
    """A line a candidate; where runs have diverged it ends in a ring."""
    every = [point for points in curves.values() for point in points]
    means = sorted(point.mean for point in every if math.isfinite(point.mean))
    high = means[0] + 3 * (means[len(means) // 2] - means[0]) if means else 1.0  # the far ends would flatten the rest
    y = Axis.around([mean for mean in means if mean <= high], LOSS)
    plot = Plot(WIDTH, 360, Axis.around([point.rate for point in every], "learning rate", log=True), y, right=140)
    ends = []
    for name, points in curves.items():
        hue = hues.get(name, 0)
        shown = [point for point in points if point.mean <= y.high]
        bands = [(point.rate, point.interval) for point in shown if point.interval and point.interval.high <= y.high]
        plot.band([(rate, found.low) for rate, found in bands], [(rate, found.high) for rate, found in bands], hue)
        plot.line([(point.rate, point.mean) for point in shown], hue)
        for point in shown:
            told = f"{name} at {point.rate:g}: {_cell(point)}"
            plot.dot(point.rate, point.mean, hue, hollow=bool(point.caps), told=told)
        if shown:
            ends.append((min(point.mean for point in shown), name, hue))
    for row, (best, name, hue) in enumerate(sorted(ends)):
        plot.text(plot.x.high, y.high, f"{name} {best:.3f}", kind=f"word c{hue}", down=12 + 15 * row)
    label = (
        "Mean loss over learning rate, with its 95 % interval as a band; a ring where runs have diverged. Names: by "
        "their best mean."
    )
    return Figure(label, plot.svg(label))
