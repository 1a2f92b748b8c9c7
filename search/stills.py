"""The figures of a question as PNG: for the dashboard's list of files, for slides, for mail."""

from __future__ import annotations

from collections.abc import Sequence

from search.confirmation import Confirmation
from search.drawing import Line, Row, draw, draw_rows
from search.figures import COLOURS
from search.leaderboard import TOP, Candidate, Leaderboard, leaders

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
    rows = [Row(entry.name, entry.values[0], None, entry.values[:TOP], colours[entry.name]) for entry in board.entries if entry.values]
    return draw_rows(board.question, "the best five results of each candidate; tuned, not confirmed", LOSS, rows)


def intervals(question: str, found: Confirmation, candidates: Sequence[Candidate]) -> bytes:
    """The confirmed mean of each winner with its 95 % interval, and every seed."""
    colours = {candidate.name: colour for candidate, colour in zip(candidates, _colours(len(candidates)), strict=True)}
    rows = [
        Row(entry.candidate, mean.mean, (mean.low, mean.high), tuple(entry.losses.values()), colours.get(entry.candidate, COLOURS[0]))
        for entry in found.entries
        if (mean := entry.estimate)
    ]
    note = f"confirmed at {found.horizon:,} iterations on {found.seeds} fresh seeds: mean, 95 % interval, every seed"
    return draw_rows(question, note, LOSS, rows)


def _colours(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]
