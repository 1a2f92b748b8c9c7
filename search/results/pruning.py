"""Was pruning justified? How well the loss at a rung foretells that at the horizon, and what spared trials say.

Only trials that are trained to the horizon tell. Those that the pruner let through are its choice, so a few of those
that it would have stopped are let through on purpose (`spared` in a study file); each stands for as many as the inverse
of their share.

Duplicates are left out: they would count one training twice. A trial that diverged behind a rung counts with its loss
there and the cap at the horizon; one that diverged before it has no loss there.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from tunemax.search.question.budget import Budget
from tunemax.search.question.counting import counted
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.results.correlation import Correlation, Pair, rank_correlation
from tunemax.search.results.leaderboard import Candidate
from tunemax.search.storage.attributes import DUPLICATE_OF, SPARED, SPARED_SHARE, state

JUSTIFIED = 0.5
"""Least rank correlation between a rung and the horizon at which stopping trials there is called justified."""
OWN = 12
"""Pairs from which on a candidate is judged by its own correlation; below, by that of all candidates together."""
LEAST = 5
"""Pairs below which nothing is said of a correlation."""
MOST = 8
"""Steps of a candidate that are looked at, spread evenly, where a pruner may stop a trial at more."""
POOLED = "all"
"""The name of the pool of all candidates."""


@dataclass(frozen=True)
class Rung:
    """Of one candidate, or of all of them: the correlation between the loss at a step and that at the horizon."""

    candidate: str
    step: int
    """Optuna's: an iteration, or in the unit of the budget."""
    correlation: Correlation
    spared: int
    """Trials among the pairs that would have been stopped, here or elsewhere, and were let through."""
    stopped: int
    """Trials that were stopped here, or since the rung before; the spared ones included."""

    @property
    def told(self) -> str:
        """The correlation with its interval and what it rests on."""
        found = self.correlation
        whose = "all candidates" if self.candidate == POOLED else self.candidate
        interval = f"95 % interval {found.low:.2f} … {found.high:.2f}; " if math.isfinite(found.low) else ""
        return f"{found.value:.2f} ({interval}{whose}: {counted(found.n, 'trial')}, {self.spared} of them spared)"


@dataclass(frozen=True)
class Fidelity:
    """What a question's trials say of its pruner. All empty if nothing is pruned."""

    rungs: tuple[Rung, ...]
    """Of each candidate, by step; then, of several candidates, those of the pool."""
    warnings: tuple[str, ...]
    """Why pruning was not justified, with a remedy: one sentence a reason."""

    def to_json(self) -> dict[str, Any]:
        return {"rungs": [_finite(asdict(rung)) for rung in self.rungs], "warnings": list(self.warnings)}


def fidelity(definition: StudyDefinition, found: Sequence[Candidate]) -> Fidelity:
    """Judge the pruner of a question by the trials of its candidates."""
    if not definition.pruner.prunes:
        return Fidelity((), ())
    own = {
        candidate.name: [trial for trial in candidate.trials if DUPLICATE_OF not in trial.user_attrs]
        for candidate in found
    }
    at = {name: _steps(definition, trials) for name, trials in own.items()}
    rungs = [_rung(name, step, [own[name]]) for name in own for step in itertools.pairwise([0, *at[name]])]
    if len(own) > 1:
        together = sorted(set().union(*at.values()))
        rungs += [_rung(POOLED, step, list(own.values())) for step in itertools.pairwise([0, *together])]
    budget, remedy = definition.budget, _remedy(definition, rungs)
    return Fidelity(tuple(rungs), (*_uncorrelated(budget, rungs, remedy), *_missed(budget, own, remedy)))


def _steps(definition: StudyDefinition, trials: Sequence[FrozenTrial]) -> list[int]:
    """Where trials of a candidate were judged: at the pruner's rungs, or the evaluation next to each; else at a few."""
    horizon, pruner = definition.budget.steps, definition.pruner
    steps = {step for trial in trials for step in trial.intermediate_values}
    reported = sorted(step for step in steps if pruner.asked_at(step, horizon))
    if rungs := pruner.rungs(horizon):
        return sorted({step for rung in rungs if (step := next((s for s in reported if s >= rung), None)) is not None})
    if len(reported) > MOST:
        return [reported[round(index)] for index in np.linspace(0, len(reported) - 1, MOST)]
    return reported


def _rung(name: str, step: tuple[int, int], groups: Sequence[Sequence[FrozenTrial]]) -> Rung:
    """step: of the rung before, and its own."""
    before, here = step
    ended = [[trial for trial in group if _tells(trial, here)] for group in groups]
    pairs = [[_pair(trial, here) for trial in group] for group in ended]
    stopped = sum(before < (_stopped_at(trial) or 0) <= here for group in groups for trial in group)
    spared = sum(SPARED in trial.user_attrs for group in ended for trial in group)
    return Rung(name, here, rank_correlation(pairs), spared, stopped)


def _tells(trial: FrozenTrial, step: int) -> bool:
    """Whether a trial has a loss both there and at the end."""
    return trial.state == TrialState.COMPLETE and trial.value is not None and step in trial.intermediate_values


def _pair(trial: FrozenTrial, step: int) -> Pair:
    assert trial.value is not None
    share = trial.system_attrs.get(SPARED_SHARE, 1.0) if SPARED in trial.user_attrs else 1.0
    return trial.intermediate_values[step], trial.value, 1 / share


def _stopped_at(trial: FrozenTrial) -> int | None:
    """Where the pruner has stopped a trial, or would have; None where it has not."""
    if SPARED in trial.user_attrs:
        return int(trial.user_attrs[SPARED])
    return trial.last_step if trial.state == TrialState.PRUNED else None


def _uncorrelated(budget: Budget, rungs: Sequence[Rung], remedy: str) -> list[str]:
    """One sentence on all rungs at which trials were stopped and whose correlation is low.

    Where trials were stopped and none of them spared, those that went on are the better part by the very loss at the
    rung; among them a correlation is low even if pruning is right, so nothing is said.
    """
    pool = {rung.step: rung for rung in rungs if rung.candidate == POOLED}
    low: list[Rung] = []
    for rung in rungs:
        judged = rung if rung.correlation.n >= OWN else pool.get(rung.step, rung)
        seen = judged.correlation.n >= LEAST and judged.spared > 0
        poor = seen and judged.correlation.value < JUSTIFIED
        if poor and rung.candidate != POOLED and rung.stopped and judged not in low:
            low.append(judged)
    if not low:
        return []
    worst = min(low, key=lambda rung: rung.correlation.value)
    more = f", and at {len(low) - 1} other rungs below {JUSTIFIED}" if len(low) > 1 else ""
    return [
        f"Pruning was not justified: the rank correlation between the loss at {budget.at(worst.step)} and the "
        f"loss at the horizon is {worst.told}{more}, less than {JUSTIFIED}; {remedy}."
    ]


def _missed(budget: Budget, own: Mapping[str, Sequence[FrozenTrial]], remedy: str) -> list[str]:
    """One sentence on spared trials that ended better than half of the others of their candidate."""
    missed: list[tuple[float, str]] = []
    count = 0
    for name, trials in own.items():
        finished = [trial for trial in trials if state(trial) == "complete"]
        losses = sorted(float(trial.values[0]) for trial in finished)
        others = [float(trial.values[0]) for trial in finished if SPARED not in trial.user_attrs]
        for trial in (trial for trial in trials if SPARED in trial.user_attrs and trial.state == TrialState.COMPLETE):
            count += 1
            if len(others) >= LEAST and (loss := float(trial.values[0])) < statistics.median(others):
                place = 1 + sum(other < loss for other in losses)
                spared = f"{name} trial {trial.number}, which {budget.at(trial.user_attrs[SPARED])} would have stopped"
                ended = f"ended as number {place} of {len(losses)} with {loss:.4f}"
                missed.append((place / len(losses), f"{spared}, {ended}"))
    if not missed:
        return []
    many = f"{len(missed)} of {counted(count, 'spared trial')}"
    return [
        f"Pruning would have lost good trials: {many} ended better than the median of the others; "
        f"{min(missed)[1]}; {remedy}."
    ]


def _remedy(definition: StudyDefinition, rungs: Sequence[Rung]) -> str:
    """What to change in the study file: a warm-up behind the last poor rung, no pruning, or cooled rungs."""
    pool = [rung for rung in rungs if rung.candidate == POOLED] or rungs
    told = [rung for rung in pool if rung.correlation.n >= LEAST]
    last = max((rung.step for rung in told if rung.correlation.value < JUSTIFIED), default=0)
    later = [rung.step for rung in told if rung.step > last and rung.correlation.value >= JUSTIFIED]
    # Where the pruner looks now, whatever share of the horizon it has
    first = min((rung.step for rung in pool), default=0)
    share = math.ceil(100 * min(later, default=0) / definition.budget.steps) / 100
    options = [f"pruner.warmup: {share:g}"] if min(later, default=0) > first and share < 1 else []
    options += ["pruner: none"]
    cooled = "cooled rungs (schedule: wsd in base, pruner: {name: asha, cooled: true})"
    options += [] if definition.pruner.cooled else [cooled]
    return f"try {', '.join(options[:-1])}{' or ' * (len(options) > 1)}{options[-1]}"


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {
        key: _finite(value) if isinstance(value, dict) else None if value != value else value
        for key, value in values.items()
    }
