"""Everything that has been found on a question, read once from the storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunemax.search.results.confirmation import Confirmation, confirmations
from tunemax.search.results.edges import edges, sentences
from tunemax.search.results.leaderboard import Candidate, Leaderboard, candidates, rank
from tunemax.search.results.pruning import Fidelity, fidelity
from tunemax.search.results.remedies import remedies
from tunemax.search.results.repeats import Repeats, repeats
from tunemax.search.storage.questions import Question


@dataclass(frozen=True)
class Findings:
    """What tuning, confirming and repeating have come to."""

    question: Question
    candidates: Sequence[Candidate]
    """In the question's order, which gives each its colour."""
    board: Leaderboard
    confirmations: Sequence[Confirmation]
    """By horizon."""
    repeats: Repeats | None
    pruning: Fidelity

    @property
    def order(self) -> str | None:
        """Whether a repeat would give the same order, of all that no confirmation has settled; None: nobody can say."""
        return self.board.order(settled(self.confirmations))

    @property
    def cautions(self) -> tuple[str, ...]:
        """What stands against the ranks, and against winners, tuned or confirmed, in sentences."""
        return cautions(self.question, self.board, self.confirmations)

    def to_json(self) -> dict[str, Any]:
        board, known = self.board.to_json(), settled(self.confirmations)
        return board | {
            "verdict": self.confirmations[0].verdict if self.confirmations else board["verdict"],
            "separable": self.board.separable(known),
            "order": self.order,
            "cautions": list(self.cautions),
            "confirmations": [each.to_json() | {"remedies": list(remedies(each))} for each in self.confirmations],
            "repeats": self.repeats.to_json() if self.repeats else None,
            "pruning": self.pruning.to_json(),
            "rule": self.question.definition.rule,
        }


def settled(confirmed: Sequence[Confirmation]) -> frozenset[str]:
    """Candidates of which a confirmation has the last word; the reference is one if it is told apart from all."""
    names: set[str] = set()
    for each in confirmed:
        others = [entry for entry in each.entries if entry.candidate != each.reference]
        known = {entry.candidate for entry in others if entry.verdict not in ("", "undecided")}
        names |= known | ({each.reference} if known and len(known) == len(others) else set())
    return frozenset(names)


def cautions(question: Question, board: Leaderboard, confirmed: Sequence[Confirmation]) -> tuple[str, ...]:
    """What stands against the ranks, against winners, tuned or confirmed, and against the pairs, in sentences."""
    winners = {entry.name: entry.best for entry in board.entries}
    found = [edge for entry in board.entries for edge in entry.edges]
    for frozen in {(entry.candidate, entry.trial): entry for each in confirmed for entry in each.entries}.values():
        winner = winners.get(frozen.candidate)
        if winner is None or winner.number != frozen.trial:
            space = question.definition.space_in(frozen.source)
            found += edges(f"{frozen.candidate} as confirmed", frozen.config, space)
    mixed = filter(None, (each.mixed for each in confirmed))
    return (*board.against, *mixed, *sentences(found))


def gather(question: Question) -> Findings:
    """Read the storage; the question is the tuned one, not one that confirms it."""
    read = candidates(question)
    pruning = fidelity(question.definition, read)
    return Findings(question, read, rank(question, read), confirmations(question), repeats(question), pruning)
