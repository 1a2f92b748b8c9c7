"""Leaderboards as text: what tuning found, and what of it was confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunemax.search.views.words import number, plain

if TYPE_CHECKING:
    from tunemax.search.results.confirmation import Confirmation, Confirmed
    from tunemax.search.results.leaderboard import Entry, Leaderboard
    from tunemax.search.results.repeats import Repeats
    from tunemax.search.results.statistics import Comparison

NONE = "–"


def answer(
    board: Leaderboard,
    confirmations: Sequence[Confirmation],
    again: Repeats | None = None,
    warnings: Sequence[str] = (),
) -> str:
    """Everything there is to say on a question: what is confirmed, what repeats of the tuning have found, what was
    tuned.

    warnings: sentences on its pruning.
    """
    parts = [*(confirmed(board, found) for found in confirmations), *([repeated(again)] if again else [])]
    return "\n\n".join([*parts, "\n".join([tuned(board, confirmations), *wrapped(*warnings)])])


def confirmed(board: Leaderboard, found: Confirmation) -> str:
    """Tuned and confirmed loss of each candidate side by side, the comparison with the reference, and the verdict."""
    from tunemax.search.results.confirmation import changed, renewal

    rows = [("", "tuned", "confirmed", f"to {found.reference}, 95 %", "p", "")]
    ranked = [entry.candidate for entry in found.entries]
    for entry in sorted(
        board.entries, key=lambda entry: ranked.index(entry.name) if entry.name in ranked else len(ranked)
    ):
        rows.append((entry.name, _loss(entry), *_confirmed(found.entry(entry.name), found.reference)))
    again = changed(board, found)
    explained = (
        f"Confirmed: winners trained anew for {found.horizon:,} iterations on {found.seeds} fresh seeds, evaluated on "
        "text that tuning has not seen, so that its losses are not those of tuning. Mean ± half of its 95 % "
        "interval; p by sign flips, corrected for all "
        "comparisons (Holm)" + (f" and for {found.looks} looks." if found.looks > 1 else ".")
    )
    return "\n".join(
        [
            *aligned(rows),
            "",
            *wrapped(explained),
            "",
            *wrapped(found.verdict),
            *wrapped(*found.remedies),
            *wrapped(*[renewal(found, again)] * bool(again)),
        ]
    )


def tuned(board: Leaderboard, confirmations: Sequence[Confirmation] = ()) -> str:
    """What tuning found, what it and its confirmations cost, and how far its order can be trusted."""
    rows: list[Sequence[str]] = [("", "best", "top 5", "complete", "pruned", "diverged", "duplicate", "steps")]
    for entry in board.entries:
        counts = [entry.complete, entry.pruned, entry.diverged, entry.duplicate, entry.member_steps]
        top = NONE if entry.median_of_top is None else f"{entry.median_of_top:.4f}"
        rows.append((entry.name, _loss(entry), top, *(f"{count:,}" for count in counts)))
    width = max(len(row[0]) for row in rows)
    settings = [f"{entry.name.ljust(width)}  {plain(entry.best.params)}" for entry in board.entries if entry.best]
    lines = [*aligned(rows), *(["", "Best settings:", *settings] if settings else [])]
    explained = (
        "Validation loss in nats a token, at the horizon: of the best trial, and the median of the best five. Steps: "
        "of all trials."
    )
    verdict = f"{board.verdict[0].upper()}{board.verdict[1:]}"
    if confirmations:
        verdict = f"Order of the tuned: {board.order}." if board.order else ""
    return "\n".join([*lines, "", explained, *wrapped(budget(board, confirmations)), *wrapped(verdict)])


def repeated(again: Repeats) -> str:
    """The best loss of each candidate in each repeat of the tuning, and how the repeats agree."""
    rows = [("", *(f"repeat {index}" for index in range(1, len(again.names) + 1)), "mean", "SD")]
    for spread in again.spreads:
        losses = [NONE if loss is None else f"{loss:.4f}" for loss in spread.best]
        over = spread.over
        rows.append(
            (spread.candidate, *losses, f"{over.mean:.4f}" if over else NONE, f"{over.sd:.4f}" if over else NONE)
        )
    return "\n".join([*aligned(rows), "", "Best tuned loss in each repeat of the tuning.", *wrapped(*again.sentences)])


def budget(board: Leaderboard, confirmations: Sequence[Confirmation]) -> str:
    """What the answer has cost."""
    steps, tokens = (sum(getattr(entry, name) for entry in board.entries) for name in ("member_steps", "tokens"))
    told = [f"tuning {steps:,} member-steps ({number(tokens)} tokens)"]
    told += [f"confirmation at {found.horizon:,} iterations {found.member_steps:,}" for found in confirmations]
    return f"Budget spent: {', '.join(told)}."


def wrapped(*sentences: str) -> list[str]:
    """Sentences one after the other, in lines of a terminal."""
    import textwrap

    return [
        line
        for sentence in sentences
        for line in textwrap.wrap(sentence, 118, break_long_words=False, break_on_hyphens=False)
    ]


def _loss(entry: Entry) -> str:
    return NONE if entry.best is None else f"{entry.best.value:.4f}"


def _confirmed(entry: Confirmed | None, reference: str) -> tuple[str, str, str, str]:
    if entry is None:
        return (NONE, NONE, NONE, "")
    found = entry.estimate
    loss = NONE if found is None else f"{found.mean:.4f} ±{max(found.high - found.mean, found.mean - found.low):.4f}"
    if entry.versus is None:
        return (loss, "reference" if entry.candidate == reference else NONE, "", entry.verdict)
    return (loss, _difference(entry.versus), f"{entry.versus.p_holm:.2g}", entry.verdict)


def _difference(versus: Comparison) -> str:
    mean, low, high = (100 * share for share in versus.relative)
    digits = 1 if max(abs(low), abs(high)) >= 1 else 2
    return f"{mean:+.{digits}f} % ({low:+.{digits}f} … {high:+.{digits}f})"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names to the left, all else to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]
