"""What a confirmation has settled, and what it has left open, in sentences: the same wherever they are read."""

from __future__ import annotations

from dataclasses import dataclass

from tunemax.search.question.counting import counted, one_or
from tunemax.search.results.confirmation import Confirmation


@dataclass(frozen=True)
class Claims:
    """The answer of a confirmation, and a sentence on each candidate unless there is only one."""

    head: str
    settled: tuple[str, ...] = ()
    open: tuple[str, ...] = ()


def claims(confirmation: Confirmation) -> Claims:
    """How many comparisons are settled, at which size on which text, and each of them; of a single one, its verdict."""
    count = len(confirmation.entries) - 1
    left = tuple(confirmation.sentence(entry, "") for entry in confirmation.open if count > 1)
    if count < 2 or not any(entry.verdict for entry in confirmation.entries):
        return Claims(confirmation.verdict, open=left)
    still = one_or(confirmation.left, "is", "are")
    come = f"{counted(confirmation.left, 'run')} {still} still to come; so far " if confirmation.left else ""
    head = f"{come}{len(confirmation.settled)} of {count} comparisons with {confirmation.reference} are settled"
    where = confirmation.where(*confirmation.entries)
    settled = tuple(confirmation.sentence(entry, "") for entry in confirmation.settled)
    return Claims(f"{head}, {where}{':' if settled else '.'}", settled, left)
