"""Asynchronous successive halving in which trials that reach a rung at one moment are judged together.

Optuna's own pruner enters a trial into a rung's record only as it judges it: of eight that stop together the first one
judged has nobody beside it, and of the others only those pass that beat all before them. Here the reports are the
record: whoever has reported at a rung is in it, judged or not, so the order of judging changes nothing.

Source: Li et al., A System for Massively Parallel Hyperparameter Tuning (2020), algorithm 2; the number that passes is
rounded to the nearest there instead of down, or three rungs in ten let too few pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

SPARED = "spared"
"""Attribute of a trial that trains on on purpose: the step at which it would have been stopped."""
DUPLICATE_OF = "duplicate_of"
"""Attribute of a trial that has the reports of another one: the number of that."""


class Halving(BasePruner):
    """Lets pass, of all trials that have reached a rung, the best one in so many.

    Args:
        rungs: steps of the rungs, rising. A trial is at a rung with its first report at or behind it.
        reduction: one in so many passes, 2 or more.
    """

    def __init__(self, rungs: Sequence[int], reduction: int) -> None:
        self._rungs = tuple(rungs)
        self._reduction = reduction

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a trial that has just reported stops: it is not good enough for a rung that it has come to."""
        trials = study.get_trials(deepcopy=False)
        maximize = study.direction == StudyDirection.MAXIMIZE
        for rung in self._rungs:
            at = _arrival(trial, rung)
            if at is None or at != trial.last_step:
                continue
            values = sorted([*_record(trials, rung, but=trial.number), trial.intermediate_values[at]], reverse=maximize)
            last = values[places(len(values), self._reduction) - 1]
            if trial.intermediate_values[at] < last if maximize else trial.intermediate_values[at] > last:
                return True
        return False


def places(trials: int, reduction: int) -> int:
    """How many of so many trials pass a rung: the nearest number to one in `reduction`, and at least the best one."""
    return max(1, (2 * trials + reduction - 1) // (2 * reduction))


def _record(trials: Sequence[FrozenTrial], rung: int, but: int) -> Iterator[float]:
    """The value at a rung of every trial but one. A duplicate is no training, a spared one has passed no rung since."""
    for trial in trials:
        at = None if trial.number == but or DUPLICATE_OF in trial.user_attrs else _arrival(trial, rung)
        if at is not None and at <= trial.user_attrs.get(SPARED, at):
            yield trial.intermediate_values[at]


def _arrival(trial: FrozenTrial, rung: int) -> int | None:
    """The step of the first report at a rung or behind it; None if there is none yet."""
    return min((step for step in trial.intermediate_values if step >= rung), default=None)
