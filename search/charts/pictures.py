"""The pictures of a question: what each of them shows.

A candidate keeps its hue, by its place in the question, while ranks change. Pictures without anything to show have no
curves or no rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tunemax.gpt.probe import STANDS_FOR
from tunemax.search.charts.picture import Axis, Curve, Curves, Dot, Look, Picture, Point, Row, Rows, Size
from tunemax.search.question.budget import counts
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.results.confirmation import Confirmation
from tunemax.search.results.leaderboard import TOP, Candidate, Leaderboard, leaders
from tunemax.search.results.sensitivity import AtRate, rate_curves
from tunemax.search.results.statistics import estimate, signed
from tunemax.search.storage.attributes import TRAJECTORY, state
from tunemax.search.storage.damage import parsed

LOSS = Axis("validation loss", "nats a token")
STEEP = 0.2
"""Of the horizon: losses from before may lie above the frame."""
SMALL = Size(width=340, height=220)
TRUE = {"row_max": "maximum of a row", "denominator": "denominator of a row"}


def hues(candidates: Sequence[Candidate]) -> dict[str, int]:
    """By candidate."""
    return {candidate.name: place for place, candidate in enumerate(candidates)}


def shared(
    definition: StudyDefinition,
    board: Leaderboard,
    candidates: Sequence[Candidate],
    confirmed: Sequence[Confirmation],
) -> dict[str, Picture]:
    """What all studies of a question show, by name. confirmed: what has been confirmed of it, or itself if it is a
    confirmation."""
    shown: dict[str, Picture] = {"curves": learning_curves(board.question, candidates, definition.budget.counts)}
    if not definition.confirms:
        shown["leaderboard"] = ranking(board, candidates)
    rates = learning_rates(definition, candidates)
    if rates.curves:
        shown["learning_rate"] = rates
    for each in confirmed:
        shown[f"confirmed-{each.factor}x"] = intervals(board.question, each, candidates)
    return shown


def learning_curves(question: str, candidates: Sequence[Candidate], across: str = "iteration") -> Curves:
    """Validation loss by steps, which count what is said across: each candidate's best trial bold, the next four thin,
    the running ones dotted."""
    curves: list[Curve] = []
    for hue, candidate in enumerate(candidates):
        finished = [trial for trial in leaders(candidate.trials) if trial.intermediate_values]
        for rank, trial in reversed(list(enumerate(finished))):
            curves.append(_losses(candidate, hue, trial, "thin" if rank else "bold"))
        for trial in candidate.trials:
            if trial.state == TrialState.RUNNING and trial.intermediate_values:
                curves.append(replace(_losses(candidate, hue, trial, "dotted"), aside=True))
    return Curves(
        title="Learning curves",
        note="the best trial, the next four thin, the running dotted",
        still=(question, "the best trial of each candidate"),
        label="The best trial of each candidate, and the next four thin.",
        x=_length(curves, across),
        y=LOSS,
        curves=curves,
        steep=STEEP,
    )


def ranking(board: Leaderboard, candidates: Sequence[Candidate]) -> Rows:
    """The best five results of each candidate, best candidate on top: where two overlap, the order is not sure."""
    rows = []
    for entry in board.entries:
        dots = [
            Dot(value, f"{entry.name}: {value:.4f}, {rank} of {len(entry.values)}")
            for rank, value in enumerate(entry.values[:TOP], 1)
            if math.isfinite(value)
        ]
        if dots:
            rows.append(Row(entry.name, hues(candidates)[entry.name], dots[0], dots=dots[:0:-1]))
    note = "the best five results of each candidate"
    return Rows(
        title="Leaderboard",
        note=note,
        still=(board.question, f"{note}; tuned, not confirmed"),
        label="The best five results of each candidate; the best one is the larger dot.",
        x=replace(LOSS, quantity="validation loss at the horizon"),
        rows=rows,
    )


def intervals(question: str, confirmed: Confirmation, candidates: Sequence[Candidate]) -> Rows:
    """The mean loss of each confirmed winner with its 95 % interval, and every seed; the best on top.

    Tuned losses are of other text and stay out.
    """
    rows = []
    for entry in confirmed.entries:
        if mean := entry.estimate:
            losses = sorted(entry.losses.items())
            dots = [Dot(loss, f"{entry.candidate}, seed {seed}: {loss:.4f}") for seed, loss in losses]
            main = Dot(mean.mean, f"{entry.candidate}: {mean.mean:.4f} ({mean.low:.4f} … {mean.high:.4f})")
            hue = hues(candidates).get(entry.candidate, 0)
            rows.append(Row(entry.candidate, hue, main, (mean.low, mean.high), dots))
    where = f"onfirmed at {confirmed.work}"
    return Rows(
        title=f"C{where}",
        note="mean over fresh seeds, 95 % interval; small: each seed",
        still=(question, f"c{where} on {confirmed.seeds} fresh seeds: mean, 95 % interval, every seed"),
        label="Mean loss over fresh seeds with its 95 % interval, and every seed as a small dot.",
        x=LOSS,
        rows=rows,
    )


def differences(confirmed: Confirmation, candidates: Sequence[Candidate]) -> Rows:
    """How much each confirmed winner typically differs from the reference, with its 95 % interval.

    What has no bound, since runs diverged or seeds are few, ends at the edge of the picture.
    """
    shown = {entry.candidate: entry.versus.relative for entry in confirmed.entries if entry.versus}
    edge = 120 * max((abs(share) for each in shown.values() for share in each if math.isfinite(share)), default=0.01)
    rows = []
    for name, shares in shown.items():
        middle, low, high = (100 * share for share in shares)
        told, *ends = (signed(value, 2) for value in (middle, low, high))
        main = Dot(min(max(middle, -edge), edge), f"{name}: {told} % ({' … '.join(ends)})")
        span = (max(low, -edge), min(high, edge))
        rows.append(Row(name, hues(candidates).get(name, 0), main, span))
    return Rows(
        label=f"Typical paired difference of each candidate to {confirmed.reference}, with its 95 % interval.",
        x=Axis(f"difference to {confirmed.reference} in % of its loss; to the left is better"),
        rows=rows,
        mark=0.0,
    )


def confirmed_curves(confirmed: Confirmation, candidates: Sequence[Candidate]) -> Curves:
    """The mean over seeds of each winner, with its 95 % interval as a band."""
    curves = []
    for entry in confirmed.entries:
        runs = [trial.intermediate_values for trial in entry.trials if state(trial) == "complete"]
        steps = sorted(set.intersection(*map(set, runs))) if runs else []
        means = [(step, estimate([run[step] for run in runs])) for step in steps]
        points = [Point(step, mean.mean, mean.low, mean.high) for step, mean in means if mean]
        if points:
            hue = hues(candidates).get(entry.candidate, 0)
            curves.append(Curve(entry.candidate, hue, points, "bold", result=points[-1].y))
    return Curves(
        label="Validation loss: mean over the fresh seeds of each winner, with its 95 % interval as a band.",
        x=_length(curves, counts(confirmed.unit, confirmed.horizon)),
        y=LOSS,
        curves=curves,
        steep=STEEP,
    )


def learnables(candidate: Candidate) -> list[Curves]:
    """How each learnable of a candidate moved, beside what it stands for as it was measured.

    Of its best trial layer by layer, of its next four as means.
    """
    moved = [
        (f"trial {trial.number}", trajectory)
        for trial in leaders(candidate.trials)
        if (trajectory := _trajectory(trial.system_attrs.get(TRAJECTORY)))
    ]
    if not moved:
        return []
    (source, best), *others = moved
    names = [name for name in best if name not in ("iteration", *STANDS_FOR.values())]
    pictures = []
    for name in names:
        curves = [
            Curve("mean of the next four", None, _means(other, name), "thin", trial, name, aside=True)
            for trial, other in reversed(others)
            if name in other  # else a trial of other settings
        ]
        true = STANDS_FOR.get(name, "")
        curves += [Curve(f"layer {i}", i, layer, "plain", source, name) for i, layer in enumerate(_layers(best, name))]
        curves += [Curve(f"layer {i}", i, layer, "dashed", source, true) for i, layer in enumerate(_layers(best, true))]
        dashed = f" Dashed: the true {TRUE[true]} that it stands for, the mean over rows." if true in best else ""
        picture = Curves(
            title=f"{' and '.join(names)} of {candidate.name}",
            note="each layer of the best trial, means of the next four; dashed: what it stands for, as measured",
            still=(f"{name} of {candidate.name}", f"{source}, its best, beside what {name} stands for"),
            label=f"{name} of {candidate.name}, {source}, in each layer.{dashed}",
            x=_length(curves),
            y=Axis(name, log=None, digits=".4g"),
            curves=curves,
            size=SMALL,
        )
        pictures.append(picture)
    return pictures


def learning_rates(definition: StudyDefinition, candidates: Sequence[Candidate]) -> Curves:
    """The mean loss of each candidate over learning rates, with its 95 % interval; a ring where runs have diverged.

    Without curves unless the study is a grid of learning rates.
    """
    found = rate_curves(definition, candidates)
    curves = []
    for name, rates in found.items():
        points = [_at_rate(name, at) for at in rates if math.isfinite(at.mean)]
        best = min((point.y for point in points), default=None)
        curves.append(Curve(name, hues(candidates)[name], points, result=best))
    means = sorted(point.y for curve in curves for point in curve.points)
    high = means[0] + 3 * (means[len(means) // 2] - means[0]) if means else 1.0  # the far ends would flatten the rest
    return Curves(
        title="Learning rate",
        note="mean over seeds with its 95 % interval",
        still=(definition.question, "mean over seeds at each learning rate"),
        label="Mean loss over learning rate, with its 95 % interval as a band; a ring where runs have diverged. Names: "
        "by their best mean.",
        x=Axis("learning rate", log=True).around([at.rate for rates in found.values() for at in rates]),
        y=LOSS.around([mean for mean in means if mean <= high]),
        curves=curves,
        names="list",
        size=Size(height=360),
    )


def importance(candidate: Candidate, hue: int, shares: Mapping[str, float]) -> Rows:
    """How much of the variation each parameter accounts for."""
    return Rows(
        label=f"Importance of the parameters of {candidate.name}.",
        x=Axis("share", ends=(0, max(shares.values()) * 1.15)),
        rows=[Row(name, hue, Dot(share, f"{share:.2f}")) for name, share in shares.items()],
        bars=True,
    )


def slices(candidate: Candidate, hue: int) -> list[Curves]:
    """Loss over each numeric parameter: complete trials as dots, pruned ones as rings where they stopped."""
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    trials = [trial for trial in candidate.trials if trial.state in ended and trial.value is not None]
    complete = sorted(trial.value for trial in trials if state(trial) == "complete" and trial.value is not None)
    if len(complete) < 2:
        return []
    high = complete[-1 if len(complete) < 8 else -(len(complete) // 8) - 1]
    pictures = []
    for name in dict.fromkeys(name for trial in trials for name in trial.params):
        having = [trial for trial in trials if type(trial.params.get(name)) in (int, float)]
        values = [float(trial.params[name]) for trial in having]
        if len(set(values)) < 2:
            continue
        points = [_slice(trial, name) for trial in having]
        picture = Curves(
            label=f"{candidate.name}: loss over {name}; complete trials as dots, pruned ones as rings.",
            x=Axis(name, log=bool(getattr(having[0].distributions[name], "log", False))).around(values),
            y=LOSS.around([complete[0], high]),
            curves=[Curve(candidate.name, hue, points, "dots")],
            names="",
            size=SMALL,
        )
        pictures.append(picture)
    return pictures


def _length(curves: Sequence[Curve], across: str = "iteration") -> Axis:
    """From the start to the longest of them."""
    return Axis(across, ends=(0, max([1, *(curve.points[-1].x for curve in curves)])))


def _losses(candidate: Candidate, hue: int, trial: FrozenTrial, look: Look) -> Curve:
    points = [Point(step, loss) for step, loss in sorted(trial.intermediate_values.items())]
    return Curve(candidate.name, hue, points, look, f"trial {trial.number}", result=points[-1].y)


def _slice(trial: FrozenTrial, name: str) -> Point:
    value, loss = float(trial.params[name]), trial.values[0]
    text = f"trial {trial.number}: {name} {value:.4g}, {loss:.4f}"
    return Point(value, loss, text=text, hollow=trial.state == TrialState.PRUNED)


def _at_rate(name: str, at: AtRate) -> Point:
    low, high = (at.interval.low, at.interval.high) if at.interval else (None, None)
    return Point(at.rate, at.mean, low, high, f"{name} at {at.rate:g}: {at.text}", hollow=bool(at.caps))


def _trajectory(text: str | None) -> dict[str, Any]:
    """How learnables moved; empty if that is not recorded, or cannot be read."""
    trajectory = parsed(text)
    if not isinstance(trajectory, dict) or not isinstance(steps := trajectory.get("iteration"), list):
        return {}
    whole = all(isinstance(rows, list) and len(rows) == len(steps) for rows in trajectory.values())
    return trajectory if whole else {}


def _layers(trajectory: Mapping[str, Any], name: str) -> list[list[Point]]:
    """A quantity of a trajectory, a curve a layer; none if it is not in it."""
    steps = trajectory["iteration"]
    columns = zip(*trajectory.get(name, ()), strict=True)
    return [[Point(step, value) for step, value in zip(steps, column, strict=True)] for column in columns]


def _means(trajectory: Mapping[str, Any], name: str) -> list[Point]:
    """The mean over layers."""
    rows = zip(trajectory["iteration"], trajectory[name], strict=True)
    return [Point(step, sum(layers) / len(layers)) for step, layers in rows]
