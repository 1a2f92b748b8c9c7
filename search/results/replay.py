"""Another pruner on recorded curves, without training: what it would have saved, and what it would have lost.

Optuna's own pruner is asked, on a study in memory, wherever a worker would ask it. Trials come in the order of their
numbers, each to its end before the next begins: a pruner that knows only finished trials knows more here than among
workers that train side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.schedule import branch_steps
from tunemax.search.question.counting import counted, one_or
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.phases import check_phases
from tunemax.search.question.pruners import Pruner
from tunemax.search.storage.attributes import DUPLICATE_OF, ITERATIONS, configuration, iteration, state
from tunemax.search.storage.commands import typed
from tunemax.search.storage.questions import Question


@dataclass(frozen=True)
class Replayed:
    """What another pruner would have done in one study. Member-steps count the trials with a full curve alone."""

    study: str
    full: int
    """Trials with a full curve: complete or diverged."""
    cut: int
    """Trials that were stopped before the other pruner would have: they end where they ended, which is not exact."""
    stopped: int
    """Trials with a full curve that the other pruner would have stopped."""
    spent: int
    """Member-steps that the trials with a full curve took."""
    needed: int
    """Member-steps that they would have taken."""
    winner: int
    """The best trial's number."""
    kept: bool
    """Whether it would have been trained to the horizon."""
    regret: float | None
    """By how much the best trial that is kept is worse than the winner, in nats a token; None if none is kept."""

    @property
    def saved(self) -> float:
        """Share of the member-steps that would have been saved."""
        return 1 - self.needed / self.spent if self.spent else 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"saved": self.saved}


def replay(question: Question, pruner: Pruner) -> list[Replayed]:
    """Apply a pruner to each study of a question.

    Raises TunemaxError if trials are still to come or none is complete, or if the pruner cannot be used with the
    recorded curves.
    """
    definition = question.definition
    if definition.confirms:
        of = definition.confirms.question
        raise TunemaxError(f"{question.name}: a confirmation, in which nothing is pruned; replay {of}")
    if pruner.cooled and (pruner.warmup, pruner.reduction) != (definition.pruner.warmup, definition.pruner.reduction):
        rungs = ", ".join(map(str, definition.pruner.rungs(definition.budget.steps)))
        remedy = "leave --warmup and --reduction out, or take median"
        raise TunemaxError(f"{question.name}: cooled rungs are recorded at {rungs} and nowhere else; {remedy}")
    changed = definition.model_copy(update={"pruner": pruner})
    check_phases(changed)
    studies = question.trials()
    left = sum(not trial.state.is_finished() for trials in studies.values() for trial in trials)
    if left:
        run, cancel = (typed(question.storage.url, "study", action, question.name) for action in ("run", "cancel"))
        remedy = f"finish it with {run}, or withdraw them with {cancel}"
        raise TunemaxError(
            f"{question.name}: {counted(left, 'trial')} {one_or(left, 'is', 'are')} still to come; {remedy}"
        )
    found = [
        _replay(name, trials, changed)
        for name, trials in studies.items()
        if any(state(trial) == "complete" for trial in trials)
    ]
    if not found:
        more = typed(question.storage.url, "study", "extend", question.name, "--trials", "N")
        nothing = "no trial is complete, so there is nothing to keep or to lose"
        raise TunemaxError(f"{question.name}: {nothing}; give it more with {more}")
    return found


def _replay(name: str, trials: Sequence[FrozenTrial], definition: StudyDefinition) -> Replayed:
    pruner = definition.pruner.make(definition.budget.steps)
    study = optuna.create_study(direction=definition.direction, sampler=RandomSampler(seed=0), pruner=pruner)
    full = cut = stopped = spent = needed = 0
    kept: set[int] = set()
    for trial in sorted(trials, key=lambda trial: trial.number):
        if DUPLICATE_OF in trial.user_attrs or trial.state == TrialState.FAIL or not trial.intermediate_values:
            continue
        again = study.ask()
        end = _stop(again, trial, definition)
        whole = trial.state == TrialState.COMPLETE
        if end is None and whole:
            study.tell(again, trial.value)
            kept.add(trial.number)
        else:
            study.tell(again, state=TrialState.PRUNED)
            cut += end is None
        if whole:
            last = iteration(trial, definition.budget, trial.last_step or 0)
            ended = last if end is None else iteration(trial, definition.budget, end)
            full += 1
            stopped += end is not None
            spent += trial.user_attrs.get(ITERATIONS, last)
            needed += ended + _branches(trial, ended, definition)
    complete = {trial.number: float(trial.values[0]) for trial in trials if state(trial) == "complete"}
    winner = min(complete, key=lambda number: (complete[number], number))
    best = min((loss for number, loss in complete.items() if number in kept), default=math.inf)
    regret = best - complete[winner] if math.isfinite(best) else None
    return Replayed(name, full, cut, stopped, spent, needed, winner, winner in kept, regret)


def _stop(again: optuna.Trial, recorded: FrozenTrial, definition: StudyDefinition) -> int | None:
    """Report a recorded curve step by step. Returns the step at which the pruner stops it, None if it does not.

    A trial that diverged is reported up to there: the pruner is not asked where a trial has ended by itself.
    """
    last = recorded.last_step if recorded.state == TrialState.COMPLETE else None
    for step, value in sorted(recorded.intermediate_values.items()):
        again.report(value, step)
        if step != last and definition.pruner.asked_at(step, definition.budget.steps) and again.should_prune():
            return step
    return None


def _branches(trial: FrozenTrial, by: int, definition: StudyDefinition) -> int:
    """Iterations that the branches of a trial have trained by then."""
    rungs = definition.pruner.cooled_rungs(definition.budget.steps)
    if not rungs:
        return 0
    config = Config.stored(configuration(trial))
    return branch_steps(config.train, [definition.budget.course(config).iteration(step) for step in rungs], by)
