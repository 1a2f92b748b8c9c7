"""Confirmation: the winners of a question, frozen and trained anew on fresh seeds, and what may be claimed from that.

A best trial was picked because it was good on the tuning seed and the tuning text; part of that was luck. Here every
winner meets seeds and text that nothing was chosen on. All candidates have the same seeds, so that each pair shares the
initial values of what both models have, and the order of the data.

A confirmation is a question of its own, `q.confirmed`, with one study a winner and one trial a seed. Workers, resuming,
dashboards and everything else treat it as they treat any question.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import FrozenTrial

from tunemax.gpt.config import Config
from tunemax.search.question.budget import told
from tunemax.search.question.stages import MOST_SEEDS, confirmation_name
from tunemax.search.results.leaderboard import Leaderboard
from tunemax.search.results.statistics import Comparison, Estimate, claim, compare, estimate, extent, separable_note
from tunemax.search.storage.attributes import ITERATIONS, state
from tunemax.search.storage.commands import typed
from tunemax.search.storage.questions import Question, load, questions


@dataclass(frozen=True)
class Confirmed:
    """A frozen winner on fresh seeds."""

    candidate: str
    study: str
    """Of these runs."""
    source: str
    """The tuned study that it has won, as trial `trial`."""
    trial: int
    config: Mapping[str, Any]
    """Flat, as it was tuned, but for `precision`: what a claim rests on is fp32."""
    losses: Mapping[int, float]
    """Seed → validation loss at the horizon, in nats a token. Runs that diverged are left out."""
    diverged: tuple[int, ...]
    """Their seeds."""
    waiting: int
    """Seeds that are still to come."""
    trials: Sequence[FrozenTrial]
    estimate: Estimate | None
    """None before two seeds are done."""
    versus: Comparison | None
    """To the reference. None for the reference itself, and before two pairs of seeds are done."""
    verdict: str
    """better, worse or tie; mixed if the better side has lost more runs; diverged if none was left; else empty."""

    @property
    def runs(self) -> int:
        """Those that have ended."""
        return len(self.losses) + len(self.diverged)


@dataclass(frozen=True)
class Confirmation:
    """The confirmation of a question at one horizon. Entries: by mean loss, best first; those without one last."""

    name: str
    question: str
    horizon: float
    """The work of each run: iterations, or what `unit` says."""
    factor: int
    seeds: int
    reference: str
    data: str
    entries: tuple[Confirmed, ...]
    storage: str
    """Its URL."""
    looks: int = 1
    """How often a verdict was to be had: once more for each time that seeds were added to a complete one."""
    unit: str = "horizon"
    """As a study file names it."""

    @property
    def work(self) -> str:
        """Of each run, in words."""
        return told(self.unit, self.horizon)

    @property
    def left(self) -> int:
        """Runs that have not ended."""
        return sum(entry.waiting for entry in self.entries)

    @property
    def member_steps(self) -> int:
        return sum(trial.user_attrs.get(ITERATIONS, 0) for entry in self.entries for trial in entry.trials)

    def entry(self, candidate: str) -> Confirmed | None:
        return next((entry for entry in self.entries if entry.candidate == candidate), None)

    @property
    def verdict(self) -> str:
        """The answer in one sentence: how the best candidate beside the reference compares with it."""
        lost = next((entry for entry in self.entries if entry.verdict == "diverged"), None)
        rival = next((entry for entry in self.entries if entry.versus), lost)
        if rival:
            answer = self.sentence(rival)
        elif len(self.entries) == 1 and self.entries[0].estimate:
            only, mean = self.entries[0].candidate, self.entries[0].estimate
            interval = f"95 % interval {mean.low:.4f} … {mean.high:.4f}, {mean.n} seeds"
            answer = f"{only} has validation loss {mean.mean:.4f} ({interval}); there is nothing to compare it with."
        else:
            answer = "Nothing can be said before two seeds of the reference and of another candidate are done."
        return f"{self.left} runs still to come; so far: {answer}" if self.left else answer

    @property
    def sentences(self) -> tuple[str, ...]:
        """How each candidate compares with the reference, best first."""
        return tuple(self.sentence(entry) for entry in self.entries if entry.versus or entry.verdict == "diverged")

    def sentence(self, entry: Confirmed) -> str:
        """How one candidate compares with the reference."""
        versus = entry.versus
        where = f"at {self.work} of a {size(entry)} model on {self.data.rstrip('/').rpartition('/')[2]}"
        if versus is None:
            return f"{entry.candidate} diverged in all {entry.runs} runs, {where}."
        mean, within, digits = extent(versus, "seeds")
        sides = [one for one in (entry, self.entry(self.reference)) if one]
        if entry.verdict == "mixed":
            lost = [f"{one.candidate} in {len(one.diverged)} of {one.runs} runs" for one in sides]
            refused = f"{entry.candidate} is not called {versus.verdict} than {self.reference}"
            both = f"where both trained to the end it is {mean:.{digits}f} % {versus.verdict} ({within})"
            return f"{refused}: {' and '.join(lost)} diverged; {both}, {where}."
        sentence = claim(versus, "validation loss", "seeds", where)
        lost = [f"{len(one.diverged)} of {one.runs} runs of {one.candidate}" for one in sides if one.diverged]
        return f"{sentence}; {' and '.join(lost)} diverged and are left out." if lost else f"{sentence}."

    @property
    def remedies(self) -> tuple[str, ...]:
        """What would have to be done to separate the ties, and what these seeds could never show."""
        compared = [entry.versus for entry in self.entries if entry.versus]
        ties = [entry.versus for entry in self.entries if entry.versus and entry.verdict == "tie"]
        remedies = []
        for tie in ties:
            needed, both = tie.seeds_needed, f"{tie.name} and {self.reference}"
            if needed is None or needed > MOST_SEEDS:
                many = f"more than {MOST_SEEDS:,}" if needed is None else f"about {needed:,}"
                remedies.append(f"A difference as small as that of {both} would need {many} seeds.")
            else:
                longer = ["--longer", str(self.factor)] if self.factor > 1 else []
                words = ["study", "confirm", self.question, "--seeds", str(max(needed, self.seeds + 1)), *longer]
                more = typed(self.storage, *words)
                remedies.append(f"If {both} differ by so much, about {needed} seeds would show it: {more}")
        note = separable_note(min(tie.n for tie in ties), len(compared)) if ties else None
        return (*([note] if note else []), *remedies)

    def to_json(self) -> dict[str, Any]:
        entries = [
            {
                "candidate": entry.candidate,
                "study": entry.study,
                "source": entry.source,
                "trial": entry.trial,
                "losses": {str(seed): loss for seed, loss in sorted(entry.losses.items())},
                "diverged": list(entry.diverged),
                "waiting": entry.waiting,
                "estimate": asdict(entry.estimate) if entry.estimate else None,
                "versus": asdict(entry.versus) if entry.versus else None,
                "verdict": entry.verdict,
            }
            for entry in self.entries
        ]
        names = ("name", "horizon", "unit", "factor", "seeds", "looks", "reference", "left", "member_steps", "verdict")
        own = {name: getattr(self, name) for name in names}
        return own | {"remedies": list(self.remedies), "entries": entries}


def tuned(question: Question) -> Question:
    """The question that this one confirms, or itself if it confirms none."""
    confirms = question.definition.confirms
    return load(question.storage, confirms.question) if confirms else question


def confirming(question: Question) -> list[Question]:
    """The questions that confirm this one, by horizon."""
    names = [name for name in questions(question.storage) if name.startswith(confirmation_name(question.name, 1))]
    opened = [load(question.storage, name) for name in names]
    of = [each for each in opened if each.definition.confirms and each.definition.confirms.question == question.name]
    return sorted(of, key=lambda each: each.definition.budget.amount)


def confirmations(question: Question) -> list[Confirmation]:
    """What has been confirmed of a question, or is being confirmed, by horizon."""
    return [confirmation(each) for each in confirming(question)]


def confirmation(opened: Question) -> Confirmation:
    """Read a confirmation, and compare."""
    definition = opened.definition
    confirms = definition.confirms
    assert confirms is not None
    trials = {study.rpartition("/")[2]: runs for study, runs in opened.trials().items()}
    losses = {name: _losses(runs) for name, runs in trials.items()}
    looks = 1 + len(confirms.looks)
    compared = compare(losses, confirms.reference, looks) if confirms.reference in losses else []
    versus = {comparison.name: comparison for comparison in compared}
    lost = {name: _diverged(runs) for name, runs in trials.items()}
    lost_reference = len(lost.get(confirms.reference, ()))
    entries = [
        Confirmed(
            candidate=name,
            study=f"{opened.name}/{name}",
            source=frozen.study,
            trial=frozen.trial,
            config=frozen.fields,
            losses=losses[name],
            diverged=lost[name],
            waiting=sum(not trial.state.is_finished() for trial in trials[name]),
            trials=trials[name],
            estimate=estimate(list(losses[name].values())),
            versus=versus.get(name),
            verdict=_verdict(versus.get(name), len(losses[name]), len(lost[name]), lost_reference),
        )
        for name, frozen in confirms.winners.items()
        if name in trials
    ]
    entries.sort(key=lambda entry: (entry.estimate.mean if entry.estimate else math.inf, entry.candidate))
    return Confirmation(
        name=opened.name,
        question=confirms.question,
        horizon=definition.budget.amount,
        unit=definition.budget.unit,
        factor=confirms.factor,
        seeds=definition.budget.trials,
        reference=confirms.reference,
        data=definition.data,
        entries=tuple(entries),
        storage=str(opened.storage.url),
        looks=looks,
    )


def changed(board: Leaderboard, found: Confirmation) -> list[str]:
    """Candidates whose tuned winner is another one now than the one that was confirmed."""
    winners = {entry.name: entry.winner.number for entry in board.entries if entry.winner}
    return [entry.candidate for entry in found.entries if winners.get(entry.candidate, entry.trial) != entry.trial]


def renewal(found: Confirmation, candidates: Sequence[str]) -> str:
    """What to say of candidates whose winner has changed since it was confirmed."""
    remove = typed(found.storage, "study", "delete", found.name, "--yes")
    since = "tuning has found a better trial since; what is confirmed is the one before"
    return f"{', '.join(candidates)}: {since}. For a new one: {remove}"


def _verdict(versus: Comparison | None, kept: int, lost: int, reference_lost: int) -> str:
    """Of a candidate with so many runs kept and so many diverged: a lower loss of fewer runs is no better one."""
    if versus is None:
        return "diverged" if lost and not kept else ""
    mixed = {"better": lost > reference_lost, "worse": lost < reference_lost}
    return "mixed" if mixed.get(versus.verdict) else versus.verdict


def _losses(trials: Iterable[FrozenTrial]) -> dict[int, float]:
    return {_seed(trial): trial.value for trial in trials if state(trial) == "complete" and trial.value is not None}


def _diverged(trials: Iterable[FrozenTrial]) -> tuple[int, ...]:
    return tuple(sorted(_seed(trial) for trial in trials if state(trial) == "diverged"))


def _seed(trial: FrozenTrial) -> int:
    return int(trial.params["seed"])


def size(entry: Confirmed) -> str:
    """The model in few characters: ``2×32`` is two layers of width 32."""
    model = Config.of(entry.config).model
    return f"{model.n_layer}×{model.n_embd}"
