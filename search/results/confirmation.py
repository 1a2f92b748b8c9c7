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
from itertools import combinations
from typing import Any

from optuna.trial import FrozenTrial

from tunemax.gpt.config import Config
from tunemax.search.question.budget import told
from tunemax.search.question.counting import counted
from tunemax.search.question.stages import MARGIN, Frozen, confirmation_name
from tunemax.search.results.calming import calming
from tunemax.search.results.comparison import Comparison, Runs, claim, compare, percent
from tunemax.search.results.leaderboard import Leaderboard
from tunemax.search.results.mixture import mixture
from tunemax.search.results.order import enumerated
from tunemax.search.results.statistics import Estimate, estimate
from tunemax.search.storage.attributes import ITERATIONS, state
from tunemax.search.storage.questions import Question, load, openable, questions


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
    """Mean loss of the runs that did not diverge, on the seeds that it is compared on: those on which the reference has
    not diverged either. None before two have ended."""
    beside: Estimate | None
    """The reference's mean loss on the same seeds. None for the reference itself, and without a comparison."""
    versus: Comparison | None
    """To the reference. None for the reference itself, and before two pairs of seeds are done."""

    @property
    def verdict(self) -> str:
        """better, worse, equal, undecided or mixed; without a comparison *diverged* if no run was left, else empty."""
        if self.versus:
            return self.versus.verdict
        return "diverged" if self.diverged and not self.losses else ""

    @property
    def runs(self) -> int:
        """Those that have ended."""
        return len(self.losses) + len(self.diverged)


RANK = {"better": 0, "equal": 2, "mixed": 3, "undecided": 3, "worse": 4}
"""The order of verdicts. The reference stands at 1, and what has none yet comes last."""


@dataclass(frozen=True)
class Confirmation:
    """The confirmation of a question at one horizon.

    Entries by what is known of all their seeds: better ones first, then the reference, equal ones, undecided and mixed
    ones, worse ones; among them by the typical difference.
    """

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
    planned: int
    """Seeds that were planned at first."""
    margin: float = MARGIN
    """What differs by less than this share of the reference's loss is equal."""
    unit: str = "horizon"
    """As a study file names it."""
    partial: bool = False
    """Whether candidates of the question are left out."""
    rechosen: bool = False
    """Whether another candidate was the reference before."""
    budget: int | None = None
    """Runs of all candidates together, where who is settled gets no more seeds."""

    @property
    def mixed(self) -> str | None:
        """How its runs were trained in different ways, in a sentence; None if they were not."""
        found = mixture((entry.candidate, entry.trials) for entry in self.entries)
        return f"{self.name}: {found[0].lower()}{found[1:]}" if found else None

    @property
    def open(self) -> tuple[Confirmed, ...]:
        """The candidates of which nothing is settled."""
        others = (entry for entry in self.entries if entry.candidate != self.reference)
        return tuple(entry for entry in others if not (entry.versus and entry.versus.typically != "undecided"))

    @property
    def settled(self) -> tuple[Confirmed, ...]:
        """The candidates of which something is, best first."""
        others = (entry for entry in self.entries if entry.candidate != self.reference)
        return tuple(entry for entry in others if entry not in self.open)

    @property
    def told_seeds(self) -> str:
        """``12 fresh seeds``, or ``10 to 24 fresh seeds`` where some candidates have fewer than others."""
        fewest = min((len(entry.trials) for entry in self.entries), default=self.seeds)
        most = counted(self.seeds, "fresh seed")
        return f"{fewest} to {most}" if fewest < self.seeds else most

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

    @property
    def alone(self) -> bool:
        """Whether there is nothing to compare with."""
        return len(self.entries) < 2

    def entry(self, candidate: str) -> Confirmed | None:
        return next((entry for entry in self.entries if entry.candidate == candidate), None)

    @property
    def verdict(self) -> str:
        """The answer: the best candidate if one is better than the reference; if none is, that, and where all stand."""
        return " ".join(self.verdicts)

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The answer in sentences, the first of which is the one that counts."""
        first, *more = self._answer()
        so_far = f"{counted(self.left, 'run')} still to come; so far: " if self.left else ""
        return (f"{so_far}{first}", *more)

    def _answer(self) -> list[str]:
        others = [entry for entry in self.entries if entry.candidate != self.reference]
        if not others and self.entries and (self.entries[0].estimate or not self.left):
            return [self._alone(self.entries[0])]
        if not any(entry.verdict for entry in others):
            answer = "Nothing can be said before two seeds of the reference and of another candidate are done."
            return [answer, *self._diverged(self.entries)]
        if len(others) == 1:
            return [self.sentence(others[0])]
        better = [entry for entry in others if entry.verdict == "better"]
        if not better:
            none = f"None of {counted(len(others), 'candidate')} is shown to be better than {self.reference}"
            return [f"{none}, {self.where(*others)}: {self._standing(others)}."]
        also = ", ".join(entry.candidate for entry in better[1:])
        too = [f"Better than {self.reference}, too: {also}."] if also else []
        rest = [entry for entry in others if entry not in better and entry.verdict]
        beside = [f"The others: {self._standing(rest)}."] if rest else []
        return [self.sentence(better[0]), *too, *beside, *self._diverged(better[1:])]

    def _alone(self, only: Confirmed) -> str:
        mean, alone, whose = only.estimate, "there is nothing to compare it with", f"{only.candidate}{_lost(only)}"
        if mean is None:
            return f"{whose}: fewer than two of its runs have a loss, and {alone}."
        interval = f"95 % interval {mean.low:.4f} … {mean.high:.4f}, {counted(mean.n, 'seed')}"
        return f"{whose} has validation loss {mean.mean:.4f} ({interval}), {self.where(only)}; {alone}."

    def _standing(self, others: Sequence[Confirmed]) -> str:
        """Where each candidate stands, in few words."""
        said = {
            "equal": f"equal within {percent(self.margin)}",
            "undecided": "undecided",
            "mixed": "mixed (see reliability)",
            "worse": "worse",
            "diverged": "all runs diverged",
            "": "nothing known yet",
        }
        groups: dict[str, list[str]] = {}
        for entry in others:
            groups.setdefault(entry.verdict, []).append(f"{entry.candidate}{_lost(entry)}")
        reference = self.entry(self.reference)
        told = [f"{', '.join(names)}: {said[verdict]}" for verdict, names in groups.items()]
        return "; ".join(told + ([f"{self.reference}{_lost(reference)}"] if reference and reference.diverged else []))

    @staticmethod
    def _diverged(entries: Iterable[Confirmed]) -> list[str]:
        """A sentence on those that have lost runs; empty if none has."""
        lost = [f"{it.candidate} in {len(it.diverged)} of {counted(it.runs, 'run')}" for it in entries if it.diverged]
        return [f"Diverged: {', '.join(lost)}."] if lost else []

    @property
    def sentences(self) -> tuple[str, ...]:
        """How each candidate compares with the reference, best first."""
        return tuple(self.sentence(entry) for entry in self.entries if entry.candidate != self.reference)

    def sentence(self, entry: Confirmed, where: str | None = None) -> str:
        """How one candidate compares with the reference. where: at what size and on what text, if not in full; may be
        empty."""
        if entry.versus:
            said = f"{claim(entry.versus, 'validation loss', self.where(entry) if where is None else where)}."
            return " ".join([said, *self._calming(entry, entry.versus)])
        if entry.trials and not entry.runs and not entry.waiting:
            return f"{entry.candidate}: all {counted(len(entry.trials), 'run')} of it have failed."
        few = f"nothing can be said before two seeds of it and of {self.reference} are done"
        return f"{entry.candidate}{_lost(entry)}: {few}."

    def _calming(self, entry: Confirmed, versus: Comparison) -> list[str]:
        """What would calm a side whose runs fall into two modes; of the reference it is said once, with the first."""
        first = next(other for other in self.entries if other.candidate != self.reference)
        sides = [(entry, versus.reliability.own), (self.entry(self.reference), versus.reliability.other)]
        told = sides if entry is first else sides[:1]
        return [calming(side.candidate, side.config) for side, lost in told if side and lost.modes]

    def where(self, *entries: Confirmed) -> str:
        """At what sizes of the models, the reference's among them, after what work and on what text."""
        reference = self.entry(self.reference)
        sizes = list(dict.fromkeys(map(size, [*([reference] if reference else []), *entries])))
        models = f"a {sizes[0]} model" if len(sizes) == 1 else f"models of {enumerated(sizes)}"
        return f"at {self.work} of {models} on {self.data.rstrip('/').rpartition('/')[2]}"

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
                "beside": asdict(entry.beside) if entry.beside else None,
                "versus": entry.versus.to_json() if entry.versus else None,
                "verdict": entry.verdict,
            }
            for entry in self.entries
        ]
        told = ("name", "horizon", "unit", "factor", "seeds", "planned", "budget", "margin", "reference", "left")
        own = {key: getattr(self, key) for key in (*told, "member_steps", "verdict", "mixed")}
        return own | {"entries": entries}


def tuned(question: Question) -> Question:
    """The question that this one confirms, or itself if it confirms none."""
    confirms = question.definition.confirms
    return load(question.storage, confirms.question) if confirms else question


def confirming(question: Question) -> list[Question]:
    """The questions that confirm this one, by horizon."""
    opened = openable(question.storage, confirmation_name(question.name, 1))
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
    seeds = definition.budget.trials
    planned, runs = confirms.first_planned(seeds), runs_of(opened)
    reference, beside = confirms.reference, list(combinations(runs, 2)) if confirms.rechosen else []
    compared = compare(runs, reference, planned, confirms.margin, beside) if reference in runs else []
    versus, theirs = {comparison.name: comparison for comparison in compared}, runs.get(reference, {})
    entries = [
        confirmed(frozen, f"{opened.name}/{name}", runs[name], trials[name], versus.get(name), theirs)
        for name, frozen in confirms.winners.items()
        if name in trials
    ]
    return Confirmation(
        name=opened.name,
        question=confirms.question,
        horizon=definition.budget.amount,
        unit=definition.budget.unit,
        factor=confirms.factor,
        seeds=seeds,
        reference=confirms.reference,
        data=definition.data,
        entries=ranked(entries, confirms.reference),
        storage=str(opened.storage.url),
        planned=planned,
        margin=confirms.margin,
        rechosen=confirms.rechosen,
        budget=confirms.runs,
        partial=len(confirms.winners) < len(questions(opened.storage).get(confirms.question, ())),
    )


def confirmed(
    frozen: Frozen,
    study: str,
    runs: Runs,
    trials: Sequence[FrozenTrial],
    versus: Comparison | None,
    reference: Runs,
) -> Confirmed:
    """One candidate, from its runs by seed. study: of these runs. reference: the runs that it is compared with."""
    losses, theirs = _finite(runs), _finite(reference)
    shared = [seed for seed in losses if versus is None or (seed in versus.seeds and seed in theirs)]
    return Confirmed(
        candidate=study.rpartition("/")[2],
        study=study,
        source=frozen.study,
        trial=frozen.trial,
        config=frozen.fields,
        losses=losses,
        diverged=tuple(sorted(seed for seed, loss in runs.items() if loss is not None and math.isinf(loss))),
        waiting=sum(not trial.state.is_finished() for trial in trials),
        trials=trials,
        estimate=estimate([losses[seed] for seed in shared]),
        beside=estimate([theirs[seed] for seed in shared]) if versus else None,
        versus=versus,
    )


def ranked(entries: Iterable[Confirmed], reference: str) -> tuple[Confirmed, ...]:
    """Entries by what is known of all their seeds, best first; see `Confirmation`."""

    def place(entry: Confirmed) -> tuple[int, float, str]:
        if entry.candidate == reference:
            return (1, 0.0, "")
        typical = entry.versus.typical.value if entry.versus else math.inf
        return (RANK.get(entry.verdict, len(RANK) + 1), typical, entry.candidate)

    return tuple(sorted(entries, key=place))


def changed(board: Leaderboard, found: Confirmation) -> list[str]:
    """Candidates whose tuned winner is another one now than the one that was confirmed."""
    winners = {entry.name: entry.best.number for entry in board.entries if entry.best}
    return [entry.candidate for entry in found.entries if winners.get(entry.candidate, entry.trial) != entry.trial]


def runs_of(opened: Question) -> dict[str, Runs]:
    """The runs of a confirmation, by candidate."""
    return {study.rpartition("/")[2]: _runs(trials) for study, trials in opened.trials().items()}


def _runs(trials: Iterable[FrozenTrial]) -> Runs:
    """By seed. Of several trials of one seed that which has ended counts; one that has only failed has no loss."""
    runs: dict[int, float | None] = {}
    for trial in trials:
        seed = (trial.system_attrs.get("fixed_params", {}) | trial.params).get("seed")
        stands = state(trial)
        if seed is None:
            continue  # asked with the stock tools
        if stands == "complete":
            runs[int(seed)] = trial.value
        elif stands == "diverged":
            runs[int(seed)] = math.inf
        elif stands in ("running", "waiting"):
            runs.setdefault(int(seed), None)
    return runs


def _finite(runs: Runs) -> dict[int, float]:
    """Of the runs that have ended and did not diverge."""
    return {seed: loss for seed, loss in runs.items() if loss is not None and math.isfinite(loss)}


def _lost(entry: Confirmed) -> str:
    """Of one candidate, to stand behind its name; empty if it has lost none."""
    return f" (diverged in {len(entry.diverged)} of {counted(entry.runs, 'run')})" if entry.diverged else ""


def size(entry: Confirmed) -> str:
    """The model in few characters: ``2×32`` is two layers of width 32."""
    model = Config.stored(entry.config).model
    return f"{model.n_layer}×{model.n_embd}"
