"""A judgement on a terminal: the verdict first, then the figures, then what it has cost and what would be next."""

from __future__ import annotations

from tunemax.search.question.counting import counted
from tunemax.search.results.comparison import percent
from tunemax.search.results.durations import about
from tunemax.search.results.judgement import Judgement, Tried
from tunemax.search.views import tables
from tunemax.search.views.writers.terminal import aligned, wrapped


def told(judgement: Judgement) -> str:
    """Everything that is known."""
    parts = [wrapped(f"{judgement.verdict}: {judgement.sentence}")]
    if judgement.found and judgement.pairs > 1:
        table = aligned(tables.judged(judgement.found))
        parts.append([*table, "", *wrapped(f"{tables.explained(judgement.found)}.")])
    parts.append(wrapped(*_about(judgement)))
    return "\n\n".join("\n".join(part) for part in parts)


def _about(judgement: Judgement) -> list[str]:
    said = [_tried(judgement), _cost(judgement)]
    if judgement.twins:
        said.append(
            "Both are one configuration: each side has had seeds of its own, and what differs is their luck alone."
        )
    if judgement.why_undecided == "budget":
        said.append(f"{judgement.more_seeds} The same command with more --seeds goes on.".strip())
    if judgement.why_undecided == "time":
        said.append("The time is spent; the same command goes on.")
    return said


def _tried(judgement: Judgement) -> str:
    """What the short trainings have shown, and what they have not."""
    trained = ", ".join(map(_ended, judgement.tried))
    said = f"Tried first for {counted(judgement.short, 'iteration')}, on one seed: {trained}."
    if judgement.horizon == judgement.short:
        return f"{said} The verdict is of this horizon, and says nothing of a longer one."
    return f"{said} That is no part of the verdict."


def _ended(tried: Tried) -> str:
    if tried.loss is not None:
        return f"{tried.name} {tried.loss:.4f}"
    return f"{tried.name} {tried.state}" + (f" ({tried.reason})" if tried.reason else "")


def _cost(judgement: Judgement) -> str:
    costs, before = judgement.costs, judgement.costs_before
    granted = judgement.found.budget if judgement.found else None
    runs = f"{costs.runs} of at most {counted(granted, 'run')}" if granted else counted(costs.runs, "run")
    steps = f"{counted(costs.member_steps, 'member-step')}, and {before.member_steps:,} of the short ones before"
    spent = f"Cost: {runs}, {steps}; {about(costs.seconds + before.seconds)} of training."
    return f"{spent} Equivalent would be within {percent(judgement.margin)}." if judgement.pairs else spent
