"""The figures of a question as PNG: for the dashboard's list of files, for slides, for mail."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from tunemax.envs.canvas import COLOURS, Line, Row, draw, draw_rows
from tunemax.gpt.probe import STANDS_FOR
from tunemax.search.charts.plotly import learnables
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.results.confirmation import Confirmation
from tunemax.search.results.leaderboard import TOP, Candidate, Leaderboard, leaders
from tunemax.search.results.sensitivity import rate_curves
from tunemax.search.storage.attributes import TRAJECTORY

LOSS = "validation loss in nats a token"


def curves(board: Leaderboard, candidates: Sequence[Candidate]) -> bytes:
    """The learning curve of each candidate's best trial, without its first fifth, which is steep."""
    lines = []
    for candidate, colour in zip(candidates, _colours(len(candidates)), strict=True):
        best = next((trial for trial in leaders(candidate.trials) if trial.intermediate_values), None)
        if best:
            points = sorted(best.intermediate_values.items())
            late = [(step, loss) for step, loss in points if step >= points[-1][0] / 5]
            lines.append(Line(f"{candidate.name} {points[-1][1]:.4f}", late, colour))
    lines.sort(key=lambda line: line.points[-1][1])
    return draw(board.question, "the best trial of each candidate", f"iteration; {LOSS}", lines)


def ranges(board: Leaderboard, candidates: Sequence[Candidate]) -> bytes:
    """The best five results of each candidate."""
    colours = {candidate.name: colour for candidate, colour in zip(candidates, _colours(len(candidates)), strict=True)}
    rows = [
        Row(entry.name, entry.values[0], None, entry.values[:TOP], colours[entry.name])
        for entry in board.entries
        if entry.values
    ]
    return draw_rows(board.question, "the best five results of each candidate; tuned, not confirmed", LOSS, rows)


def intervals(question: str, found: Confirmation, candidates: Sequence[Candidate]) -> bytes:
    """The confirmed mean of each winner with its 95 % interval, and every seed."""
    colours = {candidate.name: colour for candidate, colour in zip(candidates, _colours(len(candidates)), strict=True)}
    rows = [
        Row(
            entry.candidate,
            mean.mean,
            (mean.low, mean.high),
            tuple(entry.losses.values()),
            colours.get(entry.candidate, COLOURS[0]),
        )
        for entry in found.entries
        if (mean := entry.estimate)
    ]
    note = f"confirmed at {found.horizon:,} iterations on {found.seeds} fresh seeds: mean, 95 % interval, every seed"
    return draw_rows(question, note, LOSS, rows)


def learning_rates(question: str, definition: StudyDefinition, candidates: Sequence[Candidate]) -> bytes:
    """The mean loss of each candidate over the logarithm of the learning rate."""
    curves = rate_curves(definition, candidates)
    lines = []
    for candidate, colour in zip(candidates, _colours(len(candidates)), strict=True):
        points = [
            (math.log10(point.rate), point.mean)
            for point in curves.get(candidate.name, ())
            if math.isfinite(point.mean)
        ]
        if points:
            lines.append(Line(f"{candidate.name} {min(mean for _, mean in points):.4f}", points, colour))
    return draw(question, "mean over seeds at each learning rate", f"log10 of the learning rate; {LOSS}", lines)


def moving(candidate: Candidate) -> list[str]:
    """The learnables of a candidate's best trial."""
    told = next(
        (trial.system_attrs[TRAJECTORY] for trial in leaders(candidate.trials) if TRAJECTORY in trial.system_attrs),
        "{}",
    )
    return learnables(json.loads(told))


def moved(candidate: Candidate, name: str) -> bytes:
    """How one learnable of a candidate's best trial moved, layer by layer, and what it stands for."""
    best = next(trial for trial in leaders(candidate.trials) if TRAJECTORY in trial.system_attrs)
    told = json.loads(best.system_attrs[TRAJECTORY])
    lines: list[Line] = []
    for true in (name, STANDS_FOR.get(name, "")):
        for layer, column in enumerate(zip(*told.get(true, ()), strict=True)):
            points = list(zip(told["iteration"], column, strict=True))
            lines.append(Line(f"{true}, layer {layer}", points, COLOURS[len(lines) % len(COLOURS)]))
    return draw(
        f"{name} of {candidate.name}",
        f"trial {best.number}, its best, beside what {name} stands for",
        "iteration",
        lines,
    )


def _colours(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]
