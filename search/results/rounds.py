"""The rounds of a confirmation that has so many runs for all its candidates: who gets more seeds, and how many.

At first every candidate is trained on as many seeds as the first look of the sequential test needs. A candidate whose
claim is settled there gets no more; those that are open go on to their next look, and the reference with them, since it
is in every pair. What the runs left do not suffice for is given to those that are nearest to a verdict. Whoever stops,
and why, costs no error: a look says what it says of the first n pairs, see `sequential`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.looks import looks, too_few_runs
from tunemax.search.question.stages import MOST_SEEDS, comparisons
from tunemax.search.results.confirmation import Confirmation
from tunemax.search.results.sequential import Settled


@dataclass(frozen=True)
class Stand:
    """Where a candidate stands at the end of a round."""

    seeds: int
    """Those that it was trained on."""
    pairs: int
    """Those of them on which the reference has ended, too."""
    settled: Settled | None
    """None before its first look."""

    @property
    def is_open(self) -> bool:
        return self.settled is None or not (self.settled.sign or self.settled.equal_at)

    @property
    def p(self) -> float:
        """How far it is from a verdict."""
        return min(self.settled.p, self.settled.p_equal) if self.settled else 1.0

    def next_look(self, planned: int, family: int) -> int | None:
        """Seeds with which it reaches its next look, if no more of them are lost than so far; None if none follows."""
        lost = self.seeds - self.pairs
        follows = (count + lost for count in looks(planned, family) if count > self.pairs)
        return next((seeds for seeds in follows if seeds <= MOST_SEEDS), None)


def first_seeds(planned: int, candidates: int, runs: int, rechosen: bool = False) -> int:
    """Seeds of every candidate in the first round. Raises TunemaxError if the runs are too few to settle anything.

    planned: seeds of each that are planned. candidates: with the reference. runs: of all of them together. rechosen:
    see `Confirms`.
    """
    first = looks(planned, max(1, comparisons(candidates, rechosen)))[0]
    if fault := too_few_runs(runs, candidates, first):
        raise TunemaxError(f"runs = {fault}")
    return first


def next_seeds(
    others: Mapping[str, Stand], reference: str, there: int, planned: int, family: int, runs: int
) -> dict[str, int]:
    """Seeds of each candidate in the next round; those that it has where none follows.

    others: all but the reference. there: seeds of the reference. planned, family: of the test. runs: of all candidates
    together, those that were trained already included.
    """
    seeds = {reference: there} | {name: stand.seeds for name, stand in others.items()}
    left = runs - sum(seeds.values())
    for name, stand in sorted(others.items(), key=lambda item: item[1].p):
        wanted = stand.next_look(planned, family) if stand.is_open else None
        if wanted is not None:
            grown = {name: wanted, reference: max(seeds[reference], wanted)}
            cost = sum(grown.values()) - seeds[name] - seeds[reference]
            if cost <= left:
                seeds, left = seeds | grown, left - cost
    return seeds


def next_of(found: Confirmation, runs: int) -> dict[str, int]:
    """The same of a confirmation; nothing changes while one of its runs is to come."""
    seeds = {entry.candidate: len(entry.trials) for entry in found.entries}
    if found.left or found.reference not in seeds:
        return seeds
    others = {
        entry.candidate: Stand(
            seeds=len(entry.trials),
            pairs=entry.versus.n if entry.versus else 0,
            settled=entry.versus.settled if entry.versus else None,
        )
        for entry in found.entries
        if entry.candidate != found.reference
    }
    family = max(1, comparisons(len(found.entries), found.rechosen))
    return next_seeds(others, found.reference, seeds[found.reference], found.planned, family, runs)
