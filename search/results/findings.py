"""Everything that has been found on a question, read once from the storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunemax.search.results.confirmation import Confirmation, confirmations
from tunemax.search.results.leaderboard import Candidate, Leaderboard, candidates, rank
from tunemax.search.results.pruning import Fidelity, fidelity
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

    def to_json(self) -> dict[str, Any]:
        return self.board.to_json() | {
            "confirmations": [each.to_json() for each in self.confirmations],
            "repeats": self.repeats.to_json() if self.repeats else None,
            "pruning": self.pruning.to_json(),
            "rule": self.question.definition.rule,
        }


def gather(question: Question) -> Findings:
    """Read the storage; the question is the tuned one, not one that confirms it."""
    read = candidates(question)
    pruning = fidelity(question.definition, read)
    return Findings(question, read, rank(question, read), confirmations(question), repeats(question), pruning)
