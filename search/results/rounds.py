"""The rounds of a confirmation that has so many runs for all its candidates: who gets more seeds, and how many.

At first every candidate is trained on as many seeds as the first look of the sequential test needs. A candidate whose
claim is settled there gets no more; those that are open go on to their next look, and the reference with them, since it
is in every pair. What the runs left do not suffice for is given to those that are nearest to a verdict. Whoever stops,
and why, costs no error: a look says what it says of the first n pairs, see `sequential`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.counting import one_or
from tunemax.search.question.looks import least_seeds, looks, too_few_runs
from tunemax.search.question.stages import MOST_SEEDS, Confirm, comparisons
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
        if not self.pairs:
            return None  # nothing has come of all its runs
        lost = self.seeds - self.pairs
        follows = (count + lost for count in looks(planned, family) if count > self.pairs)
        return next((seeds for seeds in follows if seeds <= MOST_SEEDS), None)


def first_seeds(planned: int, candidates: int, runs: int, rechosen: bool = False) -> int:
    """Seeds of every candidate in the first round. Raises TunemaxError if the runs are too few to settle anything.

    planned: seeds of each that are planned. candidates: with the reference. runs: of all of them together. rechosen:
    see `Confirms`.
    """
    if candidates == 1:
        return min(planned, runs)  # there is nothing to settle
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


def allotted(
    stage: Confirm, found: Confirmation | None, candidates: Sequence[str], planned: int, rechosen: bool
) -> tuple[dict[str, int], int | None]:
    """Seeds of each candidate from now on, never fewer than it has, and the runs that are granted; None: not counted.

    found: the confirmation so far. A stage that names neither seeds nor runs goes on as it was begun, and fewer than
    were granted change nothing. Raises TunemaxError if the runs do not suffice for who is new.
    """
    there = {entry.candidate: len(entry.trials) for entry in found.entries} if found else {}
    granted = found.budget if found else None
    if stage.runs is None and granted is None:
        return dict.fromkeys(candidates, max(stage.seeds, found.seeds if found else 0)), None
    if stage.runs is None and "seeds" in stage.model_fields_set:
        each = {name: max(stage.seeds, there.get(name, 0)) for name in candidates}
        return each, max(granted or 0, sum(each.values()))
    runs = max(stage.runs or 0, granted or 0, sum(there.values()))
    newcomers = [name for name in candidates if name not in there]
    if found and not newcomers:
        return next_of(found, runs), runs
    least = least_seeds(comparisons(len(candidates), rechosen))
    if not found and len(candidates) > 1 and planned < least:  # a plan that is begun stays, and looks beyond it
        among = f"{len(candidates)} candidates need at least {least}"
        raise TunemaxError(f"seeds = {planned}: too few to settle anything; {among}")
    first = first_seeds(planned, len(candidates), runs, rechosen)
    each = {name: there.get(name, first) for name in candidates}
    if sum(each.values()) > runs:
        need = f"{', '.join(newcomers)} {one_or(len(newcomers), 'needs', 'need')} {first} seeds"
        raise TunemaxError(
            f"runs = {runs}: {sum(there.values())} are spent, and {need}; expected at least {sum(each.values())}"
        )
    return each, runs


def next_of(found: Confirmation, runs: int) -> dict[str, int]:
    """The same of a confirmation; nothing changes while one of its runs is to come, nor where all of them diverged:
    more of the kind tell nothing."""
    seeds = {entry.candidate: len(entry.trials) for entry in found.entries}
    if found.left or found.reference not in seeds or not any(entry.losses for entry in found.entries):
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
