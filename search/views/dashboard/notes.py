"""The Markdown notes of a question's studies in optuna-dashboard."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import optuna
from sqlalchemy.engine import make_url

from tunemax.search.results.confirmation import Confirmation, Confirmed
from tunemax.search.results.leaderboard import Entry, Leaderboard
from tunemax.search.storage.database import shown, study_id
from tunemax.search.storage.questions import Question

ROOM = "\u00a0\u00a0"


def of_a_tuning(
    question: Question,
    board: Leaderboard,
    confirmed: Sequence[Confirmation],
    studies: dict[str, optuna.Study],
    name: str,
    warnings: Sequence[str] = (),
) -> str:
    """Of one study: the question, how far the answer can be trusted, the leaderboard, and how to go on.

    warnings: sentences on its pruning.
    """
    ids = {study: study_id(question.cached, study) for study in studies}
    definition = question.definition
    sure = confirmed[0].verdict if confirmed else board.verdict[0].upper() + board.verdict[1:]
    data = definition.data.rstrip("/").rpartition("/")[2]
    budget = f"{definition.budget.horizon:,} iterations, {definition.budget.trials} trials for each candidate"
    plan = (
        f"{data}, {budget}, sampler {definition.sampler.name}, pruner {definition.pruner.name}, seed {definition.seed}."
    )
    titles = ("", "candidate", "best", "top 5", "complete", "pruned", "diverged", "running", "waiting", "steps")
    rows = [_row(place, entry, ids[entry.study], entry.study == name) for place, entry in enumerate(board.entries, 1)]
    settings = [
        _cells((entry.name, _trial_link(entry, ids[entry.study]), _settings(entry)))
        for entry in board.entries
        if entry.best
    ]
    compare = ",".join(map(str, ids.values()))
    lines = [
        f"# {board.question}",
        "",
        f"**{sure}**",
        "",
        plan,
        "",
        *(line for each in confirmed for line in _confirmed(each, f"Confirmed in {each.name}")),
        *(["## Tuned", ""] if confirmed else []),
        _cells(titles),
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *rows,
        "",
        "Validation loss in nats a token, at the horizon: of the best trial, and the median of the best five. Steps: "
        "of all trials.",
        *(line for warning in warnings for line in ("", warning)),
        *(["", f"[Compare all {len(ids)} studies](/dashboard/compare-studies?ids={compare})"] if len(ids) > 1 else []),
        *(
            ["", "## Best settings", "", _cells(("candidate", "trial", "settings")), "|---|--:|---|", *settings]
            if settings
            else []
        ),
        "",
        "## Go on",
        "",
        "```",
        *_commands(question, board, confirmed, name),
        "```",
    ]
    return "\n".join(lines)


def _row(place: int, entry: Entry, study_id: int, here: bool) -> str:
    losses = ["–" if loss is None else f"{loss:.4f}" for loss in (entry.best and entry.best.value, entry.median_of_top)]
    counts = (entry.complete, entry.pruned, entry.diverged, entry.running, entry.waiting, entry.member_steps)
    name = f"[{f'**{entry.name}**' if here else entry.name}](/dashboard/studies/{study_id})"
    return _cells((str(place), name, *losses, *(f"{count:,}" for count in counts)))


def _cells(cells: Sequence[str]) -> str:
    """A row of a table. The dashboard leaves no room between cells, so each brings some."""
    return "|" + "|".join(f" {ROOM}{cell} " for cell in cells) + "|"


def _trial_link(entry: Entry, study_id: int) -> str:
    assert entry.best is not None
    return f"[{entry.best.number}](/dashboard/studies/{study_id}/trials?numbers={entry.best.number})"


def _settings(entry: Entry) -> str:
    assert entry.best is not None
    values = (
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in entry.best.params.items()
    )
    return ", ".join(f"`{value}`" for value in values) or "defaults"


def _commands(question: Question, board: Leaderboard, confirmed: Sequence[Confirmation], study: str) -> list[str]:
    """What to type next."""
    longer = str(4 * question.definition.budget.horizon)
    next_stage = [] if board.left or any(not each.left for each in confirmed) else [["study", "confirm", question.name]]
    return _in_storage(
        question,
        [
            ["study", "run" if board.left else "leaderboard", question.name],
            *next_stage,
            ["study", "best", study],
            ["train", "--from", study, "--max_iters", longer],
            ["report", question.name],
            ["dashboard"],
        ],
    )


def _in_storage(question: Question, commands: Sequence[list[str]]) -> list[str]:
    """Commands with the storage if it is a file; a server's URL may hold a password."""
    url = make_url(question.storage.url)
    storage = ["--storage", shown(url)] if url.get_backend_name() == "sqlite" else []
    lines = [shlex.join(["tunemax", *words, *storage]) for words in commands]
    return lines if storage else ["export TUNEMAX_STORAGE=…  # the URL of this database", *lines]


def of_a_confirmation(question: Question, found: Confirmation, name: str) -> str:
    """Of the study of one winner: what is confirmed, the comparison, and how to go on."""
    entry = next(entry for entry in found.entries if entry.study == name)
    lines = [
        f"# {question.definition.question}",
        "",
        f"**{found.verdict}**",
        "",
        f"{entry.source} trial {entry.trial}, trained anew on {found.seeds} fresh seeds for {found.horizon:,} "
        "iterations, and evaluated on validation text that no tuning has seen. Every candidate has the same seeds: "
        "the same initial values where the models agree, the same order of the data.",
        "",
        *_confirmed(found, "Confirmed"),
        "## Go on",
        "",
        "```",
        *_in_storage(
            question,
            [
                ["study", "confirm", found.question, "--seeds", str(2 * found.seeds)],
                ["study", "leaderboard", found.question],
            ],
        ),
        "```",
    ]
    return "\n".join(lines)


def _confirmed(found: Confirmation, title: str) -> list[str]:
    """A section with the comparison."""
    titles = (
        "candidate",
        "mean loss",
        "95 % interval",
        f"to {found.reference}",
        "95 % interval",
        "p",
        "",
        "seeds",
        "diverged",
    )
    rows = [
        _cells(titles),
        "|---|--:|--:|--:|--:|--:|---|--:|--:|",
        *(_cells(_comparison(entry)) for entry in found.entries),
    ]
    return [
        f"## {title}",
        "",
        *rows,
        "",
        "p by sign flips of the paired differences, corrected for all comparisons (Holm).",
        "",
        *found.remedies,
        "",
    ]


def _comparison(entry: Confirmed) -> tuple[str, ...]:
    mean, versus = entry.estimate, entry.versus
    own = (f"{mean.mean:.4f}", f"{mean.low:.4f} … {mean.high:.4f}") if mean else ("–", "–")
    middle = ("reference" if mean else "–", "", "", entry.verdict)
    if versus:
        middle = (
            f"{100 * versus.relative[0]:+.2f} %",
            f"{100 * versus.relative[1]:+.2f} … {100 * versus.relative[2]:+.2f} %",
            f"{versus.p_holm:.2g}",
            entry.verdict,
        )
    return (entry.candidate, *own, *middle, str(len(entry.losses)), str(len(entry.diverged)))
