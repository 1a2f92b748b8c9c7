"""The ladder of a study as its trials tell it: which are its rungs, which follow it, and which rate is the best so far.

See `tunemax.search.question.ladder`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tunemax.search.question.ladder import RATE
from tunemax.search.storage.attributes import KNOWN, has_diverged


def follows(trial: FrozenTrial) -> bool:
    """Whether a trial is a known one that has left its rate open."""
    given = _given(trial)
    return bool(given) and RATE not in given and RATE not in trial.params


def climbed(unfinished: Iterable[FrozenTrial]) -> bool:
    """Whether no rung of a ladder is among a study's unfinished trials."""
    return not any(RATE in _given(trial) for trial in unfinished)


def best_rate(trials: Iterable[FrozenTrial]) -> float | None:
    """The rate of the rung that has come to the best loss; None while none has.

    Rungs that were pruned stand behind those that were trained to the horizon, by how far they came, then by their last
    loss: losses at two steps are not compared. What diverged or failed is none to follow.
    """
    ended = [
        (_standing(trial), trial.params[RATE]) for trial in trials if RATE in _given(trial) and RATE in trial.params
    ]
    return min(((standing, rate) for standing, rate in ended if standing is not None), default=(None, None))[1]


def _standing(trial: FrozenTrial) -> tuple[int, int, float] | None:
    """Less is better; None for a trial that has come to nothing."""
    if trial.state == TrialState.COMPLETE and not has_diverged(trial):
        return (0, 0, trial.values[0])
    if trial.state == TrialState.PRUNED and trial.last_step is not None:
        loss = trial.intermediate_values[trial.last_step]
        return (1, -trial.last_step, loss) if math.isfinite(loss) else None
    return None


def _given(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters of a trial that it got when its study was laid out."""
    return dict(trial.system_attrs.get("fixed_params", {})) if KNOWN in trial.system_attrs else {}
