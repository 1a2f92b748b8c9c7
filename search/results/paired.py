"""Two confirmed candidates on the seeds that both have: differences of what was measured, with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

from tunemax.gpt.forced import Forced
from tunemax.search.results.comparison import Comparison, claim, compare
from tunemax.search.results.confirmation import confirmation, runs_of
from tunemax.search.results.sides import Named
from tunemax.search.results.signed_rank import Typical, typical


class Measured(Protocol):
    """A model that was read."""

    @property
    def seed(self) -> int: ...
    @property
    def read(self) -> Forced: ...
    @property
    def bits_a_byte(self) -> float: ...


@dataclass(frozen=True)
class Paired:
    """The second side less the first, seed by seed.

    seeds: that both have here. means: of each quantity, the first side's and the second's, over these. differences: the
    typical ones, with exact intervals that count one quantity and one look; infinite ends for fewer than six seeds.
    versus, claim: what may be claimed of the loss at the horizon, and that in words; None and empty if they do not
    belong to one confirmation.
    """

    first: str
    second: str
    seeds: tuple[int, ...]
    means: Mapping[str, tuple[float, float]]
    differences: Mapping[str, Typical]
    versus: Comparison | None
    claim: str = ""


def quantities(k: int, *, alike: bool) -> dict[str, Callable[[Measured], float]]:
    """What is paired, by name. alike: whether both have the same tokens."""
    found: dict[str, Callable[[Measured], float]] = {"bits a byte": lambda model: model.bits_a_byte}
    if alike:
        found = {
            "loss": lambda model: model.read.loss,
            **found,
            "top-1": lambda model: model.read.accuracy(1),
            **({f"top-{k}": lambda model: model.read.accuracy(k)} if k > 1 else {}),
            "ECE": lambda model: model.read.calibration_error(),
        }
    return found


def paired(
    first: Named, second: Named, one: Sequence[Measured], two: Sequence[Measured], k: int, *, alike: bool
) -> Paired:
    """one, two: the models of either side, one a seed."""
    mine, theirs = ({model.seed: model for model in models} for models in (one, two))
    seeds = tuple(sorted(mine.keys() & theirs.keys()))
    means, differences = dict[str, tuple[float, float]](), dict[str, Typical]()
    for name, value in quantities(k, alike=alike).items():
        pairs = [(value(mine[seed]), value(theirs[seed])) for seed in seeds]
        if len(pairs) > 1:
            means[name] = (sum(a for a, _ in pairs) / len(pairs), sum(b for _, b in pairs) / len(pairs))
            differences[name] = typical([b - a for a, b in pairs])
    return Paired(first.name, second.name, seeds, means, differences, *_claimed(first, second))


def _claimed(first: Named, second: Named) -> tuple[Comparison | None, str]:
    """As the confirmation of both says it, with the first as the reference: every pair of its candidates counts if that
    is not the one that was chosen."""
    one, two = first.first.trial, second.first.trial
    question = one.question if one else None
    confirms = question.definition.confirms if question else None
    if not (one and two and question and confirms and two.study in question.siblings) or one.study == two.study:
        return None, ""
    own, other = (each.study.rpartition("/")[2] for each in (one, two))
    runs = runs_of(question)
    beside = list(combinations(runs, 2)) if confirms.rechosen or confirms.reference != own else []
    planned = confirms.first_planned(question.definition.budget.trials)
    compared = compare(runs, own, planned, confirms.margin, beside)
    found = next((each for each in compared if each.name == other), None)
    where = confirmation(question)
    sizes = where.where(*(entry for name in (own, other) if (entry := where.entry(name))))
    return found, f"{claim(found, 'validation loss', sizes)}." if found else ""
