"""Leaderboards as text: what tuning found, and what of it was confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.lines import plain

if TYPE_CHECKING:
    from search.confirmation import Confirmation, Confirmed
    from search.leaderboard import Entry, Leaderboard
    from search.statistics import Comparison

NONE = "–"


def answer(board: Leaderboard, confirmations: Sequence[Confirmation], warnings: Sequence[str] = ()) -> str:
    """Everything there is to say on a question, the confirmed before the tuned. warnings: sentences on its pruning."""
    parts = [confirmed(board, found) for found in confirmations]
    lines = ["\n".join(wrapped(warning)) for warning in warnings]
    return "\n\n".join([*parts, "\n".join([tuned(board, with_verdict=not confirmations), *lines])])


def confirmed(board: Leaderboard, found: Confirmation) -> str:
    """Tuned and confirmed loss of each candidate side by side, the comparison with the reference, and the verdict."""
    from search.confirmation import changed

    rows = [("", "tuned", "confirmed", f"to {found.reference}, 95 %", "p", "")]
    ranked = [entry.candidate for entry in found.entries]
    for entry in sorted(board.entries, key=lambda entry: ranked.index(entry.name) if entry.name in ranked else len(ranked)):
        rows.append((entry.name, _loss(entry), *_confirmed(found.entry(entry.name), found.reference)))
    again = changed(board, found)
    frozen = f"{', '.join(again)}: tuning has found a better trial since; what is confirmed is the one before."
    explained = (
        f"Confirmed: winners trained anew for {found.horizon:,} iterations on {found.seeds} fresh seeds, evaluated on text that tuning "
        "has not seen, so that its losses are not those of tuning. Mean ± half of its 95 % interval; p by sign flips, corrected for all "
        "comparisons (Holm)."
    )
    return "\n".join(
        [
            *aligned(rows),
            "",
            *wrapped(explained),
            "",
            *wrapped(found.verdict),
            *wrapped(*found.remedies),
            *wrapped(*[frozen] * bool(again)),
        ]
    )


def tuned(board: Leaderboard, *, with_verdict: bool = True) -> str:
    """What tuning found and what it cost."""
    rows: list[Sequence[str]] = [("", "best", "top 5", "complete", "pruned", "diverged", "duplicate", "steps")]
    for entry in board.entries:
        counts = [entry.complete, entry.pruned, entry.diverged, entry.duplicate, entry.member_steps]
        top = NONE if entry.median_of_top is None else f"{entry.median_of_top:.4f}"
        rows.append((entry.name, _loss(entry), top, *(f"{count:,}" for count in counts)))
    width = max(len(row[0]) for row in rows)
    settings = [f"{entry.name.ljust(width)}  {plain(entry.best.params)}" for entry in board.entries if entry.best]
    lines = [*aligned(rows), *(["", "Best settings:", *settings] if settings else [])]
    explained = "Validation loss in nats a token, at the horizon: of the best trial, and the median of the best five. Steps: of all trials."
    verdict = f"{board.verdict[0].upper()}{board.verdict[1:]}"
    return "\n".join([*lines, "", explained, *([verdict] if with_verdict else [])])


def wrapped(*sentences: str) -> list[str]:
    """Sentences one after the other, in lines of a terminal."""
    import textwrap

    return [line for sentence in sentences for line in textwrap.wrap(sentence, 118, break_long_words=False, break_on_hyphens=False)]


def _loss(entry: Entry) -> str:
    return NONE if entry.best is None else f"{entry.best.value:.4f}"


def _confirmed(entry: Confirmed | None, reference: str) -> tuple[str, str, str, str]:
    if entry is None:
        return (NONE, NONE, NONE, "")
    found = entry.estimate
    loss = NONE if found is None else f"{found.mean:.4f} ±{max(found.high - found.mean, found.mean - found.low):.4f}"
    if entry.versus is None:
        return (loss, "reference" if entry.candidate == reference else NONE, "", "")
    return (loss, _difference(entry.versus), f"{entry.versus.p_holm:.2g}", entry.versus.verdict)


def _difference(versus: Comparison) -> str:
    mean, low, high = (100 * share for share in versus.relative)
    digits = 1 if max(abs(low), abs(high)) >= 1 else 2
    return f"{mean:+.{digits}f} % ({low:+.{digits}f} … {high:+.{digits}f})"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names to the left, all else to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    ]
