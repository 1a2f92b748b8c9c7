"""The leaderboard of a question: what tuning found for each candidate, and whether a repeat would agree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, median
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tunemax.search.question.counting import counted
from tunemax.search.results import order
from tunemax.search.results.budgets import unequal_tokens, unequal_trials
from tunemax.search.results.edges import Edge, edges
from tunemax.search.results.edges import sentences as at_ends
from tunemax.search.results.mixture import mixture
from tunemax.search.storage.attributes import (
    CONFIG,
    ENDED,
    FLOPS,
    ITERATIONS,
    STATES,
    TOKENS,
    Outcome,
    outcomes,
    ranks,
    state,
)
from tunemax.search.storage.questions import Question

TOP = 5


@dataclass(frozen=True)
class Entry:
    """One candidate: a sibling study, or the trials of one softmax variant in a study that has it as a dimension."""

    name: str
    study: str
    best: Outcome | None
    """The best trial that ranks: the one that wins, is named, trained again and confirmed. Its value is the validation
    loss at the horizon, in nats a token. A duplicate has the cost of the trial that it repeats."""
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
    begun: float | None = None
    """The best value among the random trials that the search began with, infinite if none has one; None if it draws all
    its trials independently."""
    iterations_each: float = 0.0
    tokens_each: float = 0.0
    """Means of the trials of ours that were trained to the horizon; 0 if there is none."""
    edges: tuple[Edge, ...] = ()
    """Where the best trial lies at an end of what was searched."""
    flops: float = 0.0
    """Of all trials, as member-steps and tokens are."""
    told: int = 0
    """Trials that somebody has ended with other tools; they are counted as they ended, and rank nowhere."""
    stock: tuple[float, int] | None = None
    """Value and number of what other tools would call the best trial, whoever has told it."""

    @property
    def tried(self) -> int:
        """Trials of ours that have ended, and neither failed nor repeat another one."""
        return self.complete + self.pruned + self.diverged - self.told

    @property
    def search(self) -> order.Search:
        return order.Search(self.values, self.tried, self.begun)


@dataclass(frozen=True)
class Leaderboard:
    """Candidates by their best value; those without one last."""

    question: str
    name: str
    entries: tuple[Entry, ...]
    astray: tuple[str, ...] = ()
    """Sentences on studies of it that are missing, renamed or copied."""
    mixed: str | None = None
    """How its trials were trained in different ways, in a sentence; None if they were not."""

    @property
    def left(self) -> int:
        """Trials that have not ended."""
        return sum(entry.waiting + entry.running for entry in self.entries)

    @property
    def any_complete(self) -> bool:
        """Whether a trial has ended with a loss, whoever has told it."""
        return any(entry.stock for entry in self.entries)

    def separable(self, settled: Collection[str] = ()) -> bool | None:
        """Whether a repeat would probably give the same order; None while nobody can say. settled: see `order`."""
        found = order.groups([entry.search for entry in self._open(settled)])
        return None if found is None else all(len(group) == 1 for group in found)

    def order(self, settled: Collection[str] = ()) -> str | None:
        """Whether a repeat would give the same order, in one sentence; None while nobody can say.

        settled: candidates of which a confirmation has the last word; of the order of the others alone is spoken then.
        """
        entries = self._open(settled)
        names = [entry.name for entry in entries]
        of = f" of {order.enumerated(names)}, which no confirmation has settled," if settled and names else ""
        return order.sentence(names, [entry.search for entry in entries], f"The tuned order{of}")

    def _open(self, settled: Collection[str]) -> list[Entry]:
        """Candidates whose order is in question."""
        return [entry for entry in self.entries if entry.tried and entry.name not in settled]

    @property
    def cautions(self) -> tuple[str, ...]:
        """What stands against the ranks and the winners, in sentences."""
        return (*self.against, *at_ends(edge for entry in self.entries for edge in entry.edges))

    @property
    def against(self) -> tuple[str, ...]:
        """What is to be said of the ranks: who is left out, unequal budgets, trials that others would rank, and a
        mixture of code, torch or devices."""
        return (*self.astray, *self.unequal, *self.unranked, *filter(None, [self.mixed]))

    @property
    def unranked(self) -> tuple[str, ...]:
        """A sentence for each study of which other tools name another best trial."""
        sentences = []
        for study in dict.fromkeys(entry.study for entry in self.entries):
            own = [entry for entry in self.entries if entry.study == study]
            value, number = min((entry.stock for entry in own if entry.stock), default=(math.inf, -1))
            if any(entry.told for entry in own) and all(not it.best or it.best.number != number for it in own):
                sentences.append(
                    f"optuna best-trial and the dashboard name trial {number} of {study} ({value:.4f}): it was told "
                    "with other tools, what it has trained is not recorded, and it ranks nowhere here."
                )
        return tuple(sentences)

    @property
    def unequal(self) -> tuple[str, ...]:
        """What is to be said of candidates that have had other budgets; nothing before all trials have ended."""
        if self.left:
            return ()
        trials = unequal_trials({entry.name: entry.tried for entry in self.entries})
        trained = [entry for entry in self.entries if entry.tokens_each]
        tokens = {entry.name: entry.tokens_each for entry in trained}
        work = unequal_tokens(tokens, {entry.name: entry.iterations_each for entry in trained})
        return tuple(sentence for sentence in (trials, work) if sentence)

    @property
    def sentence(self) -> str:
        """How far the order can be trusted."""
        so_far = "Tuned, not confirmed" + (f"; {counted(self.left, 'trial')} still to come." if self.left else ".")
        return " ".join([so_far, *filter(None, [self.order()])])

    @property
    def member_steps(self) -> int:
        return sum(entry.member_steps for entry in self.entries)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"separable": self.separable(), "left": self.left, "verdict": self.sentence}


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
    entries = [_entry(question, candidate) for candidate in found]
    entries.sort(key=lambda entry: (entry.best is None, entry.best.value if entry.best else 0.0, entry.name))
    mixed = mixture((candidate.name, candidate.trials) for candidate in found)
    return Leaderboard(question.definition.question, question.name, tuple(entries), question.astray, mixed)


def leaders(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that a candidate's best values come from, best first, TOP at most."""
    complete = [trial for trial in trials if ranks(trial) and state(trial) == "complete"]
    return sorted(complete, key=lambda trial: (trial.value, trial.number))[:TOP]


def _entry(question: Question, candidate: Candidate) -> Entry:
    trials, startup = candidate.trials, question.definition.startup
    ranked = outcomes(trials)
    own = [found for found in ranked if found.duplicate_of is None]
    best = _at_cost(ranked[0], ranked) if ranked else None
    top = [found.value for found in own[:TOP]]
    counts = Counter(map(state, trials))
    told = [trial for trial in trials if CONFIG not in trial.system_attrs and state(trial) in ENDED]
    trained = [found for found in own if found.tokens and not found.diverged]
    return Entry(
        name=candidate.name,
        study=candidate.study,
        best=best,
        median_of_top=median(top) if top else None,
        **{name: counts[name] for name in STATES},
        member_steps=sum(trial.user_attrs.get(ITERATIONS, 0) for trial in trials),
        tokens=sum(trial.user_attrs.get(TOKENS, 0) for trial in trials),
        flops=float(sum(trial.user_attrs.get(FLOPS, 0) for trial in trials)),
        values=tuple(found.value for found in own),
        iterations_each=fmean(found.iterations for found in trained) if trained else 0.0,
        tokens_each=fmean(found.tokens or 0 for found in trained) if trained else 0.0,
        begun=None if startup is None else min((it.value for it in own if it.number < startup), default=math.inf),
        edges=edges(candidate.name, best.config, question.definition.space_in(candidate.study)) if best else (),
        told=len(told),
        stock=min(((it.values[0], it.number) for it in trials if it.state == TrialState.COMPLETE), default=None),
    )


def _at_cost(found: Outcome, others: Sequence[Outcome]) -> Outcome:
    """A duplicate with what its original has cost: it comes first where its number is lower, as in the stock tools."""
    original = next((other for other in others if other.number == found.duplicate_of), found)
    return replace(found, iterations=original.iterations, tokens=original.tokens, flops=original.flops)


def _by_variant(trials: Sequence[FrozenTrial]) -> Mapping[str, list[FrozenTrial]]:
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        groups.setdefault(trial.params.get("softmax_variant", "(not yet chosen)"), []).append(trial)
    return groups
