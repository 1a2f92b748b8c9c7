"""A judgement: which of two given configurations is better, as far as it is known, and what it has cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optuna.trial import FrozenTrial

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.counting import counted
from tunemax.search.question.judged import FIRST
from tunemax.search.question.looks import looks
from tunemax.search.question.stages import MOST_SEEDS
from tunemax.search.results.confirmation import Confirmation, Confirmed, confirmation, confirming
from tunemax.search.results.seeds import busy_seconds
from tunemax.search.storage import attributes
from tunemax.search.storage.questions import Question, load

Verdict = Literal["better", "worse", "equivalent", "mixed", "undecided"]


@dataclass(frozen=True)
class Cost:
    """What has been trained. seconds: the time in which any of it was."""

    runs: int
    member_steps: int
    seconds: float

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial]) -> Cost:
        ended = [trial for trial in trials if trial.state.is_finished()]
        steps = sum(trial.user_attrs.get(attributes.ITERATIONS, 0) for trial in trials)
        return cls(len(ended), steps, busy_seconds(ended))


@dataclass(frozen=True)
class Tried:
    """What became of one side at the short horizon, on one seed."""

    name: str
    state: str
    loss: float | None
    reason: str
    """Why it diverged or failed; empty if it did not."""


@dataclass(frozen=True)
class Judgement:
    """Of `b`, compared with `a`: at the asked horizon, or at the short one if no more was asked for."""

    name: str
    """Of the question in the storage."""
    a: str
    b: str
    margin: float
    horizon: int
    """Iterations at which it is judged."""
    short: int
    """Iterations at which both were tried first."""
    tried: tuple[Tried, ...]
    found: Confirmation | None
    """None before both were tried."""
    costs: Cost
    """Of the judgement itself."""
    costs_before: Cost
    """Of what was trained at the short horizon, before."""
    twins: bool
    """Whether both are one configuration, on seeds that are not shared."""

    @property
    def was_tried(self) -> bool:
        """Whether both were trained at the short horizon, whatever has become of that."""
        return all(it.state in attributes.ENDED for it in self.tried)

    def check_tried(self) -> None:
        """Raise TunemaxError if one of the sides cannot be trained at all."""
        for it in self.tried:
            if it.state in ("failed", "cancelled"):
                raise TunemaxError(f"{it.name}: cannot be trained ({it.reason or it.state}), so there is no verdict")

    @property
    def of_b(self) -> Confirmed | None:
        return self.found.entry(self.b) if self.found else None

    @property
    def verdict(self) -> Verdict:
        """better, worse, equivalent, undecided; mixed if b is typically better, or equal, and lost more often, or the
        other way round. What is shown to differ by less than the margin is equivalent, also where it is shown to
        differ: the margin is what a difference must have to be of use."""
        said = self.of_b.verdict if self.of_b else ""
        versus = self.of_b.versus if self.of_b else None
        lost = versus and (versus.reliability.less or versus.reliability.greater)
        if said in ("better", "worse") and versus and versus.settled.equal_at is not None and not lost:
            return "equivalent"
        known: dict[str, Verdict] = {"better": "better", "worse": "worse", "equal": "equivalent", "mixed": "mixed"}
        return known.get(said, "undecided")

    @property
    def pairs(self) -> int:
        """Seeds that both sides have ended."""
        return self.of_b.versus.n if self.of_b and self.of_b.versus else 0

    @property
    def left(self) -> int:
        """Runs that are granted and have not ended."""
        return self.found.left if self.found else 0

    @property
    def why_undecided(self) -> Literal["", "time", "diverged", "budget"]:
        """What has kept it from a verdict: the time, runs that all diverged, or the budget."""
        if self.verdict != "undecided":
            return ""
        if self.found is None or self.left:
            return "time"
        return "budget" if any(entry.losses for entry in self.found.entries) else "diverged"

    @property
    def sentence(self) -> str:
        """The verdict, what it rests on, and at what size after how much work on which text."""
        if self.found is None:
            return "Nothing can be said yet: not both have been tried."
        if self.why_undecided == "diverged":
            all_ = f"all {counted(sum(entry.runs for entry in self.found.entries), 'run')} of both diverged"
            return f"{self.b} and {self.a} cannot be compared: {all_}, and more seeds would tell no more."
        return self.found.verdict

    @property
    def more_seeds(self) -> str:
        """What more seeds would probably show, and when it is looked at next; empty where that cannot be said."""
        versus = self.of_b.versus if self.of_b else None
        if self.why_undecided != "budget" or versus is None:
            return ""
        following = next((count for count in looks(FIRST) if count > self.pairs), MOST_SEEDS)
        next_look = f"it is looked at next with {following} seeds of each"
        sure = versus.settled
        if sure.p_equal < sure.p:
            return f"It is nearer to equivalence (p {sure.p_equal:.2g} of a larger difference); {next_look}."
        range_ = versus.needed
        if range_ is None or range_.low is None:
            return f"A difference as small as this would need more than {MOST_SEEDS:,} seeds; {next_look}."
        low, high = max(range_.low, following), range_.high
        last = "more than 1,000" if high is None else f"{max(high, following):,}"
        many = last if last == f"{low:,}" else f"{low:,} to {last}"
        return f"A difference such as it looks so far would take {many} seeds; {next_look}."

    def to_json(self) -> dict[str, Any]:
        versus = self.of_b.versus if self.of_b else None
        return {
            "verdict": self.verdict,
            "why_undecided": self.why_undecided or None,
            "sentence": self.sentence,
            "a": self.a,
            "b": self.b,
            "margin": self.margin,
            "horizon": self.horizon,
            "pairs": self.pairs,
            "difference": versus.relative[0] if versus else None,
            "interval": list(versus.relative[1:]) if versus else None,
            "p": versus.settled.p if versus else None,
            "p_equivalent": versus.settled.p_equal if versus else None,
            "one_configuration": self.twins,
            "cost": {
                "runs": self.costs.runs,
                "granted": self.found.budget if self.found else None,
                "member_steps": self.costs.member_steps,
                "seconds": self.costs.seconds,
                "before": {
                    "runs": self.costs_before.runs,
                    "member_steps": self.costs_before.member_steps,
                    "seconds": self.costs_before.seconds,
                },
            },
            "short": {
                "horizon": self.short,
                "runs": [
                    {"side": it.name, "state": it.state, "loss": it.loss, "reason": it.reason or None}
                    for it in self.tried
                ],
            },
            "question": self.name,
            "confirmation": self.found.to_json() if self.found else None,
        }


def judgement(question: Question, factor: int, margin: float) -> Judgement:
    """Read what is known of a judgement from its storage.

    question: the one at the short horizon, see `question.judged`. factor: the horizon that is judged at, in multiples
    of that one. margin: until the judgement is begun, which has its own.
    """
    definition = question.definition
    a, b = definition.candidates
    trials = question.trials()
    opened = next((each for each in confirming(question) if each.definition.confirms.factor == factor), None)  # type: ignore[union-attr]
    found = confirmation(load(question.storage, opened.name)) if opened else None
    one, other = (_identity(trials[f"{question.name}/{name}"]) for name in (a, b))
    runs = [trial for entry in found.entries for trial in entry.trials] if found else []
    return Judgement(
        name=question.name,
        a=a,
        b=b,
        margin=found.margin if found else margin,
        horizon=definition.budget.steps * factor,
        short=definition.budget.steps,
        tried=tuple(_tried(name, trials[f"{question.name}/{name}"]) for name in (a, b)),
        found=found,
        costs=Cost.of(runs),
        costs_before=Cost.of([trial for own in trials.values() for trial in own]),
        twins=bool(one) and one == other,
    )


def _identity(trials: Sequence[FrozenTrial]) -> str:
    """Of the configuration of a side; empty before it was tried."""
    return next((str(it.user_attrs.get(attributes.IDENTITY, "")) for it in trials), "")


def _tried(name: str, trials: Sequence[FrozenTrial]) -> Tried:
    trial = trials[0]
    reason = trial.user_attrs.get(attributes.REASON) or trial.user_attrs.get(attributes.DIVERGED) or ""
    state = attributes.state(trial)
    return Tried(name, state, trial.value if state == "complete" else None, str(reason))
