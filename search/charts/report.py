"""The figures of a report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from optuna.trial import TrialState

from tunemax.gpt.probe import STANDS_FOR
from tunemax.search.charts.document import Figure
from tunemax.search.charts.plotly import learnables
from tunemax.search.charts.svg import Axis, Plot
from tunemax.search.results.confirmation import Confirmation
from tunemax.search.results.leaderboard import TOP, Candidate, Leaderboard, leaders
from tunemax.search.results.statistics import estimate
from tunemax.search.storage.attributes import TRAJECTORY, state

WIDTH, HEIGHT = 680, 340
LATE = 0.2
"""Losses before this share of the horizon may lie above the frame."""
TRUE = {"row_max": "maximum of a row", "denominator": "denominator of a row"}
LOSS = "validation loss (nats a token)"
Hues = Mapping[str, int]


def ranking(board: Leaderboard, hues: Hues) -> Figure | None:
    """The best five results of each candidate."""
    entries = [entry for entry in board.entries if entry.values]
    if not entries:
        return None
    plot = Plot.of_rows(
        WIDTH,
        Axis.around([value for entry in entries for value in entry.values[:TOP]], LOSS),
        [e.name for e in entries],
    )
    for row, entry in enumerate(entries):
        for rank, value in reversed(list(enumerate(entry.values[:TOP]))):
            told = f"{entry.name}: {value:.4f}, {rank + 1} of {len(entry.values)}"
            plot.dot(value, row, hues[entry.name], size=6 if rank == 0 else 4, faint=1 if rank == 0 else 0.5, told=told)
    label = "The best five results of each candidate; the best one is the larger dot."
    return Figure(label, plot.svg(label))


def intervals(found: Confirmation, hues: Hues) -> list[Figure]:
    """The confirmed mean of each winner, and its difference to the reference.

    Tuned losses are of other text and stay out.
    """
    entries = [entry for entry in found.entries if entry.estimate]
    if not entries:
        return []
    ends = [end for entry in entries if entry.estimate for end in (entry.estimate.low, entry.estimate.high)]
    everything = [*ends, *(loss for entry in entries for loss in entry.losses.values())]
    plot = Plot.of_rows(WIDTH, Axis.around(everything, LOSS), [entry.candidate for entry in entries])
    for row, entry in enumerate(entries):
        mean, hue = entry.estimate, hues.get(entry.candidate, 0)
        assert mean is not None
        for seed, loss in sorted(entry.losses.items()):
            plot.dot(loss, row, hue, size=3, faint=0.35, told=f"{entry.candidate}, seed {seed}: {loss:.4f}")
        plot.span(mean.low, mean.high, row, hue)
        plot.dot(
            mean.mean, row, hue, size=6, told=f"{entry.candidate}: {mean.mean:.4f} ({mean.low:.4f} … {mean.high:.4f})"
        )
    label = "Mean loss over fresh seeds with its 95 % interval, and every seed as a small dot."
    figures = [Figure(label, plot.svg(label))]
    compared = [entry for entry in entries if entry.versus]
    if compared:
        shares = [100 * share for entry in compared if entry.versus for share in entry.versus.relative]
        axis = Axis.around([0.0, *shares], f"difference to {found.reference} in % of its loss; to the left is better")
        plot = Plot.of_rows(WIDTH, axis, [entry.candidate for entry in compared])
        plot.upright(0.0)
        for row, entry in enumerate(compared):
            assert entry.versus is not None
            middle, low, high = (100 * share for share in entry.versus.relative)
            hue = hues.get(entry.candidate, 0)
            plot.span(low, high, row, hue)
            plot.dot(middle, row, hue, size=6, told=f"{entry.candidate}: {middle:+.2f} % ({low:+.2f} … {high:+.2f})")
        label = f"Paired difference of each candidate to {found.reference}, with its 95 % interval."
        figures.append(Figure(label, plot.svg(label)))
    return figures


def tuned_curves(candidates: Sequence[Candidate], hues: Hues) -> Figure | None:
    """The best trial of each candidate bold, the next four thin."""
    drawn = {
        candidate.name: [
            dict(trial.intermediate_values) for trial in leaders(candidate.trials) if trial.intermediate_values
        ]
        for candidate in candidates
    }
    return _curves(
        {name: curves for name, curves in drawn.items() if curves},
        hues,
        "The best trial of each candidate, and the next four thin.",
    )


def confirmed_curves(found: Confirmation, hues: Hues) -> Figure | None:
    """The mean over seeds of each winner, with its 95 % interval as a band."""
    curves, bands = {}, {}
    for entry in found.entries:
        runs = [trial.intermediate_values for trial in entry.trials if state(trial) == "complete"]
        steps = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
        means = {step: estimate([run[step] for run in runs]) for step in steps}
        known = {step: mean for step, mean in means.items() if mean is not None}
        if known:
            curves[entry.candidate] = [{step: mean.mean for step, mean in known.items()}]
            bands[entry.candidate] = [(float(step), mean.low, mean.high) for step, mean in known.items()]
    return _curves(
        curves,
        hues,
        "Validation loss: mean over the fresh seeds of each winner, with its 95 % interval as a band.",
        bands,
    )


def _curves(
    curves: Mapping[str, Sequence[Mapping[int, float]]],
    hues: Hues,
    label: str,
    bands: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
) -> Figure | None:
    if not curves:
        return None
    last = max(step for runs in curves.values() for run in runs for step in run)
    late = [loss for runs in curves.values() for run in runs for step, loss in run.items() if step >= LATE * last]
    late += [
        end
        for band in (bands or {}).values()
        for step, low, high in band
        if step >= 2 * LATE * last
        for end in (low, high)
    ]
    y = Axis.around(late, LOSS)
    plot = Plot(WIDTH, HEIGHT, Axis(0, last, "iteration"), y, right=140)
    for name, runs in curves.items():
        for low_high in [bands[name]] if bands and name in bands else []:
            seen = [(step, low, high) for step, low, high in low_high if high <= y.high]
            plot.band(
                [(step, low) for step, low, _ in seen], [(step, high) for step, _, high in seen], hues.get(name, 0)
            )
        for rank, run in reversed(list(enumerate(runs))):
            points = [(float(step), loss) for step, loss in sorted(run.items()) if loss <= y.high]
            plot.line(points, hues.get(name, 0), width=2.5 if rank == 0 else 1, faint=1 if rank == 0 else 0.4)
    ends = sorted((sorted(runs[0].items())[-1][1], name) for name, runs in curves.items())
    for down, (loss, name) in zip(_apart([plot.at(last, min(loss, y.high))[1] for loss, _ in ends]), ends, strict=True):
        words = f"{name} {loss:.3f}"
        plot.text(last, y.high, words, kind=f"word c{hues.get(name, 0)}", down=down - plot.at(last, y.high)[1] + 4)
    return Figure(label, plot.svg(label))


def _apart(downs: Sequence[float], room: float = 15) -> list[float]:
    """Heights of labels, moved so that none covers another. Given from the lowest loss up, which is from the bottom."""
    placed: list[float] = []
    for down in downs:
        placed.append(min(down, placed[-1] - room) if placed else down)
    return placed


def trajectories(candidate: Candidate) -> list[Figure]:
    """How each learnable of the best trial moved, layer by layer, beside what it stands for as it was measured."""
    trials = [trial for trial in leaders(candidate.trials) if TRAJECTORY in trial.system_attrs]
    if not trials:
        return []
    told = json.loads(trials[0].system_attrs[TRAJECTORY])
    figures = []
    for name in learnables(told):
        layers = list(zip(*told[name], strict=True))
        measured = list(zip(*told.get(STANDS_FOR.get(name, ""), ()), strict=True))
        values = [value for layer in (*layers, *measured) for value in layer]
        wide = min(values) > 0 and max(values) / min(values) > 5
        plot = Plot(
            WIDTH // 2,
            220,
            Axis(0, max(told["iteration"][-1], 1), "iteration"),
            Axis.around(values, log=wide),
            right=60,
            left=56,
        )
        for layer, moved in enumerate(layers):
            plot.line(list(zip(told["iteration"], moved, strict=True)), layer)
        for layer, true in enumerate(measured):
            plot.line(list(zip(told["iteration"], true, strict=True)), layer, width=1.5, dash=True)
        ends = sorted(((moved[-1], layer) for layer, moved in enumerate(layers)))
        top = plot.at(0, plot.y.high)[1]
        for down, (_, layer) in zip(_apart([plot.at(0, value)[1] for value, _ in ends]), ends, strict=True):
            plot.text(plot.x.high, plot.y.high, f"layer {layer}", kind=f"word c{layer % 10}", down=down - top + 4)
        beside = (
            f" Dashed: the true {TRUE[STANDS_FOR[name]]} that it stands for, the mean over rows." if measured else ""
        )
        label = f"{name} of {candidate.name}, trial {trials[0].number}, in each layer.{beside}"
        figures.append(Figure(label, plot.svg(label)))
    return figures


def importance(shares: Mapping[str, float], hue: int, name: str) -> Figure:
    """How much of the variation each parameter accounts for."""
    plot = Plot.of_rows(WIDTH, Axis(0, max(shares.values()) * 1.15, "share"), list(shares))
    for row, share in enumerate(shares.values()):
        plot.bar(share, row, hue)
        plot.text(share, row, f"{share:.2f}", down=4)
    label = f"Importance of the parameters of {name}."
    return Figure(label, plot.svg(label))


def slices(candidate: Candidate, hue: int) -> list[Figure]:
    """Loss over each numeric parameter: complete trials as dots, pruned ones as rings where they stopped."""
    trials = [
        trial
        for trial in candidate.trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and trial.value is not None
    ]
    complete = [trial.value for trial in trials if state(trial) == "complete" and trial.value is not None]
    if len(complete) < 2:
        return []
    low, high = min(complete), sorted(complete)[-1 if len(complete) < 8 else -(len(complete) // 8) - 1]
    figures = []
    for name in dict.fromkeys(name for trial in trials for name in trial.params):
        having = [
            trial
            for trial in trials
            if isinstance(trial.params.get(name), (int, float)) and not isinstance(trial.params[name], bool)
        ]
        values = [float(trial.params[name]) for trial in having]
        if len(set(values)) < 2:
            continue
        wide = bool(getattr(having[0].distributions[name], "log", False))
        plot = Plot(WIDTH // 2, 220, Axis.around(values, name, log=wide), Axis.around([low, high], LOSS), left=56)
        for trial in having:
            if trial.value is not None and math.isfinite(trial.value) and trial.value <= plot.y.high:
                told = f"trial {trial.number}: {name} {trial.params[name]:.4g}, {trial.value:.4f}"
                plot.dot(
                    float(trial.params[name]), trial.value, hue, hollow=trial.state == TrialState.PRUNED, told=told
                )
        label = f"{candidate.name}: loss over {name}; complete trials as dots, pruned ones as rings."
        figures.append(Figure(label, plot.svg(label)))
    return figures
