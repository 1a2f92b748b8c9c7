"""What there is to say on a question, on a terminal: what is confirmed, what repeats have found, what was tuned."""

from __future__ import annotations

from collections.abc import Sequence

from tunemax.search.question.counting import counted
from tunemax.search.results.confirmation import Confirmation, changed
from tunemax.search.results.findings import Findings
from tunemax.search.results.leaderboard import Leaderboard
from tunemax.search.results.remedies import confirming, remedies
from tunemax.search.results.repeats import Repeats
from tunemax.search.storage.commands import typed
from tunemax.search.views import tables
from tunemax.search.views.claims import claims
from tunemax.search.views.words import plain
from tunemax.search.views.writers.terminal import aligned, annotated, listed, with_command, wrapped


def answer(findings: Findings) -> str:
    """Everything: the confirmations, the repeats, the leaderboard with its costs, and warnings on the pruning."""
    board = findings.board
    parts = [_confirmed(board, confirmation) for confirmation in findings.confirmations]
    parts += [_repeated(findings.repeats)] if findings.repeats else []
    parts.append([*_tuned(findings), *wrapped(*findings.pruning.warnings)])
    return "\n\n".join("\n".join(part) for part in parts)


def _confirmed(board: Leaderboard, confirmation: Confirmation) -> list[str]:
    """What is settled first, then the figures, then what is not settled and what would settle it."""
    whose = "the winner" if confirmation.alone else "winners"
    explained = (
        f"Confirmed: {whose} trained anew for {confirmation.work} on {confirmation.told_seeds}, "
        "evaluated on text that tuning has not seen, so that its losses are not those of tuning. Mean ± half of its "
        f"95 % interval. {tables.explained(confirmation)}."
    )
    said, again = claims(confirmation), changed(board, confirmation)
    remedy = [*remedies(confirmation), *[_renewal(confirmation, again)] * bool(again)]
    left = wrapped(*said.open, *remedy)
    return [
        *wrapped(said.head),
        *listed(*said.settled),
        "",
        *aligned(tables.confirmed_beside_tuned(board, confirmation)),
        "",
        *wrapped(explained),
        *([""] * bool(left)),
        *left,
    ]


def _repeated(again: Repeats) -> list[str]:
    heading = "Best tuned loss in each repeat of the tuning."
    return [*aligned(tables.repeats(again)), "", heading, *wrapped(*again.sentences)]


def _tuned(findings: Findings) -> list[str]:
    """What tuning found, what it and its confirmations cost, and how far its order can be trusted."""
    board = findings.board
    lines = aligned(tables.ranking(board))
    costs = tables.best_costs(board)
    settings = [plain(entry.best.params) for entry in costs.of if entry.best]
    lines += ["", *annotated(costs, "best settings", settings)] if costs.of else []
    again, tokens = findings.repeats, counted(sum(entry.tokens for entry in board.entries), "token")
    spent = [f"tuning {counted(board.member_steps, 'member-step')} ({tokens})"]
    if again:
        every = f"in all {counted(len(again.names), 'repeat')}"
        spent.append(f"{every} {again.member_steps:,} ({counted(again.tokens, 'token')})")
    spent += [f"confirmation {each.member_steps:,} at {each.work}" for each in findings.confirmations]
    spent += [f"confirmation of the other repeats {again.confirming:,}"] if again and again.confirming else []
    verdict = findings.order if findings.confirmations else board.sentence
    rule = findings.question.definition.rule
    said = [f"Budget spent: {', '.join(spent)}.", *findings.cautions, verdict, rule]
    way = confirming(findings.question, board, findings.confirmations)
    return [*lines, "", *wrapped(tables.RANKED), *wrapped(*filter(None, said)), *([with_command(*way)] if way else [])]


def _renewal(found: Confirmation, candidates: Sequence[str]) -> str:
    """What to say of candidates whose winner has changed since it was confirmed."""
    remove = typed(found.storage, "study", "delete", found.name, "--yes")
    since = "tuning has found a better trial since; what is confirmed is the one before"
    return f"{', '.join(candidates)}: {since}. For a new one: {remove}"
