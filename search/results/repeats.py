"""Repeats of a tuning: the whole search done again with other seeds, which shows how much of its answer was luck.

A repeat is a question of its own, `q.repeat-2`, like the first one but for its seed: other initial values, another
order of the data, other draws of the sampler. Its winners are confirmed on the fresh seeds of the first one, so that
what differs between two repeats is the tuning alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from tunemax.search.question.counting import counted
from tunemax.search.question.stages import Repeat
from tunemax.search.results.confirmation import confirmations
from tunemax.search.results.correlation import spearman
from tunemax.search.results.leaderboard import Leaderboard, leaderboard
from tunemax.search.results.statistics import Estimate, estimate, signed
from tunemax.search.storage.questions import Question, alone, lay_out, load, openable


@dataclass(frozen=True)
class Spread:
    """One candidate over all repeats. Losses in nats a token, None in a repeat that has none yet."""

    candidate: str
    best: tuple[float | None, ...]
    """Its best tuned loss in each repeat."""
    over: Estimate | None
    """Of these; None before two repeats have one."""
    difference: tuple[float | None, ...]
    """After each repeat: confirmed difference to the reference, as a share of its mean; at the shortest horizon."""


@dataclass(frozen=True)
class Repeats:
    """All repeats of one question, the first of which is the question itself."""

    question: str
    names: tuple[str, ...]
    reference: str | None
    """Of the confirmations; None if no repeat is confirmed."""
    spreads: tuple[Spread, ...]
    """By the mean of their best losses, best first."""
    correlation: float
    """Spearman's, the mean over all pairs of repeats; NaN if there is none to be had."""
    member_steps: int = 0
    """Of the tuning, all repeats together."""
    tokens: int = 0
    """The same in tokens."""
    confirming: int = 0
    """Member-steps of what confirms the repeats after the first."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the repeats say, in words."""
        told = []
        if math.isfinite(self.correlation):
            agreement = f"rank correlation of their leaderboards {self.correlation:.2f}"
            told.append(f"{counted(len(self.names), 'repeat')} of the tuning: {agreement}.")
        for spread in self.spreads:
            shares = [100 * share for share in spread.difference if share is not None]
            if len(shares) > 1:
                each = ", ".join(signed(share, 2) for share in shares)
                told.append(f"{spread.candidate} to {self.reference}, confirmed after each of them: {each} %.")
        return tuple(told)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"correlation": self.correlation if math.isfinite(self.correlation) else None}


def lay_out_repeats(question: Question) -> list[Question]:
    """Create the repeats that a definition asks for, or bring them up to it. Returns all but the first, in order."""
    opened = []
    with alone(question.storage):
        definition = load(question.storage, question.name).definition  # somebody may have extended it
        for index in range(2, definition.repeats + 1):
            repeat = Repeat(question=definition.name, index=index, seed=definition.seed)
            name, seed = f"{definition.name}.repeat-{index}", definition.seed + index - 1
            change = {"name": name, "seed": seed, "repeats": 1, "repeat": repeat}
            opened.append(lay_out(question.storage, definition.model_copy(update=change)))
    return opened


def repeating(question: Question) -> list[Question]:
    """The repeats of a question that the storage has, in order, without the first."""
    opened = openable(question.storage, f"{question.name}.repeat-")
    mine = [each for each in opened if each.definition.repeat and each.definition.repeat.question == question.name]
    return sorted(mine, key=lambda each: each.definition.seed)


def repeats(question: Question) -> Repeats | None:
    """What the repeats of a question have found so far; None if it has none."""
    others = repeating(question)
    if not others:
        return None
    every = [question, *others]
    boards = [leaderboard(each) for each in every]
    all_confirmed = [confirmations(each) for each in every]
    confirmed = [next(iter(each), None) for each in all_confirmed]  # at the shortest horizon
    shares = [
        {entry.candidate: entry.versus.relative[0] for entry in found.entries if entry.versus} if found else {}
        for found in confirmed
    ]
    reference = next((confirmation.reference for confirmation in confirmed if confirmation), None)
    found = summary(question.name, [each.name for each in every], boards, shares, reference)
    return replace(
        found,
        member_steps=sum(board.member_steps for board in boards),
        tokens=sum(entry.tokens for board in boards for entry in board.entries),
        confirming=sum(each.member_steps for after in all_confirmed[1:] for each in after),
    )


def summary(
    question: str,
    names: Sequence[str],
    boards: Sequence[Leaderboard],
    differences: Sequence[Mapping[str, float]],
    reference: str | None,
) -> Repeats:
    """Put the leaderboards of some repeats, and the confirmed differences after each, side by side."""
    bests = [{entry.name: entry.best.value for entry in board.entries if entry.best} for board in boards]
    spreads = []
    for candidate in dict.fromkeys(entry.name for board in boards for entry in board.entries):
        own = tuple(best.get(candidate) for best in bests)
        over = estimate([loss for loss in own if loss is not None])
        spreads.append(Spread(candidate, own, over, tuple(shares.get(candidate) for shares in differences)))
    spreads.sort(key=lambda spread: (spread.over is None, spread.over.mean if spread.over else 0.0, spread.candidate))
    pairs = []
    for one, other in itertools.combinations(bests, 2):
        common = sorted(one.keys() & other.keys())
        pairs.append(spearman([one[name] for name in common], [other[name] for name in common]))
    known = [pair for pair in pairs if math.isfinite(pair)]
    return Repeats(question, tuple(names), reference, tuple(spreads), fmean(known) if known else math.nan)
