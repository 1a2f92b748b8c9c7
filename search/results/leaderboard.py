"""The leaderboard of a question: what tuning found for each candidate, and whether a repeat would agree."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from tunemax.search.results.correlation import spearman_rows
from tunemax.search.storage.attributes import FLOPS, ITERATIONS, STATES, TOKENS, Outcome, outcomes, state
from tunemax.search.storage.questions import Question

TOP = 5
SEPARABLE = 0.7
"""Rank correlation that nine of ten pairs of repeats must reach before an order of candidates is called one."""
RESAMPLES = 200
LEAST = 4
"""Results a candidate must have before anything is said of a repeat: two in each half."""


@dataclass(frozen=True)
class Entry:
    """One candidate: a sibling study, or the trials of one softmax variant in a study that has it as a dimension."""

    name: str
    study: str
    best: Outcome | None
    """The best COMPLETE trial; its value is the validation loss at the horizon, in nats a token."""
    winner: Outcome | None
    """The best one whose configuration is known: not one that somebody else has told."""
    median_of_top: float | None
    """Median value of the five best; less lucky than the best alone."""
    complete: int
    """Trials trained to the horizon; the diverged and the duplicates are counted by themselves."""
    pruned: int
    diverged: int
    duplicate: int
    failed: int
    cancelled: int
    running: int
    waiting: int
    member_steps: int
    tokens: int
    values: tuple[float, ...] = ()
    """Values of the trials that count, best first."""
    flops: float = 0.0
    """Of all trials, as member-steps and tokens are."""


@dataclass(frozen=True)
class Repeatability:
    """Spearman correlation between the orders of two repeats of a search. low: nine of ten pairs of halves reach it."""

    expected: float
    low: float


@dataclass(frozen=True)
class Leaderboard:
    """Candidates by their best value; those without one last."""

    question: str
    name: str
    entries: tuple[Entry, ...]
    repeatability: Repeatability | None
    """None while there are too few results to say."""

    @property
    def left(self) -> int:
        """Trials that have not ended."""
        return sum(entry.waiting + entry.running for entry in self.entries)

    @property
    def separable(self) -> bool:
        return self.repeatability is not None and self.repeatability.low >= SEPARABLE

    @property
    def order(self) -> str | None:
        """Whether a repeat would give the same order, as the end of a sentence; None while nobody can say."""
        if self.repeatability is None:
            return None
        expected, low = self.repeatability.expected, self.repeatability.low
        agreement = f"rank correlation with a repeat {expected:.2f}, in one of ten below {low:.2f}"
        if self.separable:
            return agreement
        remedy = "give it more trials or a longer horizon"
        return f"not separable at this budget ({agreement}; {SEPARABLE} needed); {remedy}"

    @property
    def verdict(self) -> str:
        """One sentence on how far the order can be trusted."""
        so_far = "tuned, not confirmed" + (f"; {self.left} trials still to come" if self.left else "")
        return f"{so_far}: {self.order}." if self.order else f"{so_far}."

    @property
    def sentence(self) -> str:
        """The verdict where it stands by itself."""
        return self.verdict[0].upper() + self.verdict[1:]

    @property
    def member_steps(self) -> int:
        return sum(entry.member_steps for entry in self.entries)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"separable": self.separable, "left": self.left, "verdict": self.verdict}


@dataclass(frozen=True)
class Candidate:
    """What is compared: its name, the study that it is in, and its trials."""

    name: str
    study: str
    trials: Sequence[FrozenTrial]


def candidates(question: Question) -> list[Candidate]:
    """Read the storage: every candidate with all its trials, in the question's order."""
    found = []
    for study, trials in question.trials().items():
        groups = _by_variant(trials) if question.variant_is_dimension else {study.rpartition("/")[2]: trials}
        found += [Candidate(name, study, group) for name, group in groups.items()]
    return found


def leaderboard(question: Question) -> Leaderboard:
    """Read the storage and rank the candidates."""
    return rank(question, candidates(question))


def rank(question: Question, found: Sequence[Candidate]) -> Leaderboard:
    """The leaderboard of candidates that are read already."""
    entries = [_entry(candidate.name, candidate.study, candidate.trials) for candidate in found]
    entries.sort(key=lambda entry: (entry.best is None, entry.best.value if entry.best else 0.0, entry.name))
    order = repeatability([entry.values for entry in entries])
    return Leaderboard(question.definition.question, question.name, tuple(entries), order)


def leaders(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that a candidate's best values come from, best first, TOP at most."""
    complete = [trial for trial in trials if state(trial) == "complete"]
    return sorted(complete, key=lambda trial: (trial.value, trial.number))[:TOP]


def repeatability(values: Sequence[Sequence[float]]) -> Repeatability | None:
    """How well two repeats of a search would agree on the order of the candidates.

    values: for each candidate the results of its trials, which are split at random into two halves RESAMPLES times; the
    candidates are ranked by their best in each half. Spearman and Brown's formula, 2r / (1 + r), makes the mean
    correlation of halves that of whole searches; the lowest decile is left as it is, to be careful. (Drawing with
    replacement would give both sides the same lucky best.) Chance of the seed is not in it: all trials have the tuning
    seed. None for fewer than two candidates, or fewer than LEAST results of one.
    """
    filled = sorted(sorted(results) for results in values if results)  # in whatever order they come, the same splits
    if len(filled) < 2 or min(map(len, filled)) < LEAST:
        return None
    rng = np.random.default_rng(0)
    best = []
    for results in filled:
        shuffled = rng.permuted(np.tile(results, (RESAMPLES, 1)), axis=1)  # (RESAMPLES, results)
        best.append([half.min(axis=1) for half in np.array_split(shuffled, 2, axis=1)])
    halves = np.array(best)  # (candidates, 2, RESAMPLES)
    correlations = spearman_rows(halves[:, 0].T, halves[:, 1].T)
    known = correlations[np.isfinite(correlations)]
    if not len(known):
        return Repeatability(0.0, 0.0)
    mean = float(known.mean())
    return Repeatability(2 * mean / (1 + mean) if mean > 0 else mean, float(np.quantile(known, 0.1)))


def _entry(name: str, study: str, trials: Sequence[FrozenTrial]) -> Entry:
    ranked = outcomes(list(trials))
    own = [found for found in ranked if found.duplicate_of is None]
    top = [found.value for found in own[:TOP]]
    counts = Counter(map(state, trials))
    return Entry(
        name=name,
        study=study,
        best=ranked[0] if ranked else None,
        winner=next((found for found in ranked if found.config is not None), None),
        median_of_top=statistics.median(top) if top else None,
        **{name: counts[name] for name in STATES},
        member_steps=sum(trial.user_attrs.get(ITERATIONS, 0) for trial in trials),
        tokens=sum(trial.user_attrs.get(TOKENS, 0) for trial in trials),
        flops=float(sum(trial.user_attrs.get(FLOPS, 0) for trial in trials)),
        values=tuple(found.value for found in own),
    )


def _by_variant(trials: Sequence[FrozenTrial]) -> Mapping[str, list[FrozenTrial]]:
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        groups.setdefault(trial.params.get("softmax_variant", "(not yet chosen)"), []).append(trial)
    return groups
