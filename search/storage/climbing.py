"""The ladder of a study as its trials tell it: which are its rungs, which follow it, and which rate is the best so far.

See `tunemax.search.question.ladder`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
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
    """The rate of the rung that was ahead of the others; None while none has come to anything.

    Two rungs are compared after equal work: where the one that was trained less ended. What diverged or failed is none
    to follow.
    """
    curves = [(_curve(trial), trial.params[RATE]) for trial in trials if RATE in _given(trial) and RATE in trial.params]
    left = [(curve, rate) for curve, rate in curves if curve]
    while len(left) > 1:
        step = min(max(curve) for curve, _ in left)
        best = min(_at(curve, step) for curve, _ in left)
        # Who ended here goes, or, being the best, all others do
        ahead = [each for each in left if max(each[0]) > step or _at(each[0], step) == best]
        left = [min(left, key=lambda each: _at(each[0], step))] if len(ahead) == len(left) else ahead
    return left[0][1] if left else None


def _curve(trial: FrozenTrial) -> dict[int, float]:
    """Losses by step; empty for a trial that is no rung to follow, or has not ended."""
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED) or has_diverged(trial):
        return {}
    curve = {step: loss for step, loss in trial.intermediate_values.items() if math.isfinite(loss)}
    if trial.state == TrialState.COMPLETE:
        curve[max([*curve, 0])] = trial.values[0]
    return curve


def _at(curve: Mapping[int, float], step: int) -> float:
    """The loss of a curve at its last report up to a step; infinite before its first."""
    reported = [each for each in curve if each <= step]
    return curve[max(reported)] if reported else math.inf


def _given(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters of a trial that it got when its study was laid out."""
    return dict(trial.system_attrs.get("fixed_params", {})) if KNOWN in trial.system_attrs else {}
