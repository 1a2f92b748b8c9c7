"""Confirmation: the winners of a question, frozen and trained anew on fresh seeds, and what may be claimed from that.

A best trial was picked because it was good on the tuning seed and the tuning text; part of that was luck. Here every winner meets
seeds and text that nothing was chosen on. All candidates have the same seeds, so that each pair shares the initial values of
what both models have, and the order of the data.

A confirmation is a question of its own, `q.confirmed`, with one study a winner and one trial a seed. Workers, resuming,
dashboards and everything else treat it as they treat any question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import FrozenTrial

from gpt.config import Config
from gpt.errors import TunemaxError, did_you_mean
from gpt.fields import Range
from search.definition import Budget, StudyDefinition
from search.leaderboard import Leaderboard, leaderboard
from search.question import Question, alone, lay_out, load, questions
from search.records import ITERATIONS, state
from search.stage import MOST_SEEDS, Confirm, Confirms, Frozen, confirmation_name
from search.statistics import Comparison, Estimate, compare, estimate, separable_note
from search.strategy import Pruner, Sampler

APART = 1000
"""The first fresh seed is so far from the tuning seed."""


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


@dataclass(frozen=True)
class Confirmation:
    """The confirmation of a question at one horizon. Entries: by mean loss, best first; those without one last."""

    name: str
    question: str
    horizon: int
    factor: int
    seeds: int
    reference: str
    data: str
    entries: tuple[Confirmed, ...]

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
        rival = next((entry for entry in self.entries if entry.versus), None)
        if rival:
            said = self.sentence(rival)
        elif len(self.entries) == 1 and self.entries[0].estimate:
            only, found = self.entries[0].candidate, self.entries[0].estimate
            interval = f"95 % interval {found.low:.4f} … {found.high:.4f}, {found.n} seeds"
            said = f"{only} has validation loss {found.mean:.4f} ({interval}); there is nothing to compare it with."
        else:
            said = "Nothing can be said before two seeds of the reference and of another candidate are done."
        return f"{self.left} runs still to come; so far: {said}" if self.left else said

    @property
    def sentences(self) -> tuple[str, ...]:
        """How each candidate compares with the reference, best first."""
        return tuple(self.sentence(entry) for entry in self.entries if entry.versus)

    def sentence(self, entry: Confirmed) -> str:
        """How one candidate compares with the reference."""
        versus = entry.versus
        assert versus is not None
        sign = -1 if versus.verdict == "better" else 1
        mean, low, high = (100 * sign * share for share in versus.relative)
        low, high = min(low, high), max(low, high)
        digits = 1 if max(abs(low), abs(high)) >= 1 else 2
        seeds = f"95 % interval {low:.{digits}f} … {high:.{digits}f} %, {versus.n} seeds"
        where = f"at {self.horizon:,} iterations of a {size(entry)} model on {self.data.rstrip('/').rpartition('/')[2]}"
        if versus.verdict == "tie":
            told = f"{entry.candidate} and {self.reference} tie in validation loss: {mean:+.{digits}f} % ({seeds}), {where}"
        else:
            told = f"{entry.candidate} is {mean:.{digits}f} % {versus.verdict} than {self.reference} in validation loss ({seeds}), {where}"
        lost = [f"{len(one.diverged)} runs of {one.candidate}" for one in (self.entry(self.reference), entry) if one and one.diverged]
        return f"{told}; {' and '.join(lost)} diverged and are left out." if lost else f"{told}."

    @property
    def remedies(self) -> tuple[str, ...]:
        """What would have to be done to separate the ties, and what these seeds could never show."""
        ties = [entry for entry in self.entries if entry.versus and entry.versus.verdict == "tie"]
        told = []
        for entry in ties:
            assert entry.versus is not None
            needed = entry.versus.seeds_needed
            if needed is None or needed > MOST_SEEDS:
                many = f"more than {MOST_SEEDS:,}" if needed is None else f"about {needed:,}"
                told.append(f"A difference as small as that of {entry.candidate} and {self.reference} would need {many} seeds.")
            else:
                command = self.command(max(needed, self.seeds + 1))
                told.append(f"If {entry.candidate} and {self.reference} differ by so much, about {needed} seeds would show it: {command}")
        count = min((entry.versus.n for entry in ties if entry.versus), default=0)
        note = separable_note(count, sum(entry.versus is not None for entry in self.entries)) if count else None
        return (*([note] if note else []), *told)

    def command(self, seeds: int) -> str:
        """What to type for more seeds."""
        longer = f" --longer {self.factor}" if self.factor > 1 else ""
        return f"tunemax study confirm {self.question} --seeds {seeds}{longer}"

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
            }
            for entry in self.entries
        ]
        own = {key: getattr(self, key) for key in ("name", "horizon", "factor", "seeds", "reference", "left", "member_steps", "verdict")}
        return own | {"remedies": list(self.remedies), "entries": entries}


def confirm(question: Question, stage: Confirm, factor: int = 1) -> Question:
    """Create the confirmation of a tuned question at a multiple of its horizon, or give it the seeds and candidates that it lacks.

    Winners that were frozen before stay as they are, and fewer seeds than there are already change nothing. Raises TunemaxError
    if trials are still to come, no candidate has a winner, or the reference has none.
    """
    if question.definition.confirms:
        of = question.definition.confirms.question
        raise TunemaxError(f"{question.name}: a confirmation itself; give it more seeds with tunemax study confirm {of} --seeds N")
    with alone(question.storage):
        board = leaderboard(question)
        if board.left:
            finish = f"finish them with tunemax study run {question.name}, or withdraw them with tunemax study cancel {question.name}"
            raise TunemaxError(f"{question.name}: {board.left} trials are still to come, and the winners may change; {finish}")
        name = confirmation_name(question.name, factor)
        before = load(question.storage, name).definition if name in questions(question.storage) else None
        return lay_out(question.storage, _definition(question, board, stage, factor, before))


def confirming(question: Question) -> list[Question]:
    """The questions that confirm this one, by horizon."""
    names = [name for name in questions(question.storage) if name.startswith(confirmation_name(question.name, 1))]
    opened = [load(question.storage, name) for name in names]
    of = [each for each in opened if each.definition.confirms and each.definition.confirms.question == question.name]
    return sorted(of, key=lambda each: each.definition.budget.horizon)


def confirmations(question: Question) -> list[Confirmation]:
    """What has been confirmed of a question, or is being confirmed, by horizon."""
    return [confirmation(each) for each in confirming(question)]


def confirmation(opened: Question) -> Confirmation:
    """Read a confirmation, and compare."""
    definition = opened.definition
    confirms = definition.confirms
    assert confirms is not None
    trials = {study.rpartition("/")[2]: found for study, found in opened.trials().items()}
    losses = {name: _losses(found) for name, found in trials.items()}
    versus = {each.name: each for each in compare(losses, confirms.reference)} if confirms.reference in losses else {}
    entries = [
        Confirmed(
            candidate=name,
            study=f"{opened.name}/{name}",
            source=frozen.study,
            trial=frozen.trial,
            config=frozen.fields,
            losses=losses[name],
            diverged=tuple(sorted(_seed(trial) for trial in trials[name] if state(trial) == "diverged")),
            waiting=sum(not trial.state.is_finished() for trial in trials[name]),
            trials=trials[name],
            estimate=estimate(list(losses[name].values())),
            versus=versus.get(name),
        )
        for name, frozen in confirms.winners.items()
        if name in trials
    ]
    entries.sort(key=lambda entry: (entry.estimate is None, entry.estimate.mean if entry.estimate else 0.0, entry.candidate))
    return Confirmation(
        name=opened.name,
        question=confirms.question,
        horizon=definition.budget.horizon,
        factor=confirms.factor,
        seeds=definition.budget.trials,
        reference=confirms.reference,
        data=definition.data,
        entries=tuple(entries),
    )


def changed(board: Leaderboard, found: Confirmation) -> list[str]:
    """Candidates whose tuned winner is another one now than the one that was confirmed."""
    winners = {entry.name: (entry.best.number if entry.best else None) for entry in board.entries}
    return [entry.candidate for entry in found.entries if winners.get(entry.candidate, entry.trial) != entry.trial]


def _definition(question: Question, board: Leaderboard, stage: Confirm, factor: int, before: StudyDefinition | None) -> StudyDefinition:
    """A grid over the seeds, with a sibling for each winner."""
    tuned = question.definition
    reference = before.confirms.reference if before and before.confirms else _reference(board, stage)
    frozen = dict(before.confirms.winners) if before and before.confirms else {}
    for entry in board.entries:
        if entry.name in _chosen(board, stage, reference) and entry.name not in frozen and entry.best and entry.best.config:
            frozen[entry.name] = Frozen(study=entry.study, trial=entry.best.number, fields=dict(entry.best.config) | {"precision": "fp32"})
    if reference not in frozen:
        raise TunemaxError(f"{question.name}: {reference}, the reference, has no complete trial of ours; name another with --reference")
    order = [entry.name for entry in board.entries if entry.name in frozen]
    first = tuned.seed + APART
    seeds = max(stage.seeds, before.budget.trials if before else 0)
    return StudyDefinition(
        question=tuned.question,
        name=confirmation_name(question.name, factor),
        data=tuned.data,
        fingerprint=tuned.fingerprint,
        space={"seed": Range(first, first + seeds - 1, step=1)},
        sampler=Sampler(name="grid"),
        pruner=Pruner(name="none"),
        budget=Budget(trials=seeds, horizon=factor * tuned.budget.horizon),
        confirms=Confirms(question=question.name, factor=factor, reference=reference, winners={name: frozen[name] for name in order}),
        seed=tuned.seed,
        workers=tuned.workers,
        slots=tuned.slots,
    )


def _reference(board: Leaderboard, stage: Confirm) -> str:
    names = [entry.name for entry in board.entries]
    if stage.reference is not None and stage.reference not in names:
        raise TunemaxError(f"reference = {stage.reference}: no such candidate of {board.name}{did_you_mean(stage.reference, names)}")
    if not any(entry.best and entry.best.config for entry in board.entries):
        raise TunemaxError(f"{board.name}: no trial is complete, so there is no winner to confirm")
    return stage.reference or ("softmax" if "softmax" in names else names[0])


def _chosen(board: Leaderboard, stage: Confirm, reference: str) -> set[str]:
    """The reference and the best others."""
    others = [entry.name for entry in board.entries if entry.name != reference and entry.best and entry.best.config]
    return {reference, *others[: stage.top]}


def _losses(trials: Iterable[FrozenTrial]) -> dict[int, float]:
    return {_seed(trial): trial.value for trial in trials if state(trial) == "complete" and trial.value is not None}


def _seed(trial: FrozenTrial) -> int:
    return int(trial.params["seed"])


def size(entry: Confirmed) -> str:
    """The model in few characters: ``2×32`` is two layers of width 32."""
    model = Config.of(entry.config).model
    return f"{model.n_layer}×{model.n_embd}"
