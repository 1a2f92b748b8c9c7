"""What tunemax writes on studies and trials beside Optuna's own columns: every key, and how it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.search.question import halving
from tunemax.search.question.budget import Budget

# on a study
DEFINITION = "tunemax:definition"
"""The whole study definition, as JSON text."""
QUESTION = "tunemax:question"
"""The name of the question that the study belongs to."""
SIBLING = "tunemax:sibling"
"""The name of the study itself, which a copy of it has, too. None before that was looked at."""
ANSWER = "answer"
"""What is known of the question so far, in a sentence or two, as people read it on the dashboard's pages."""
PLUGINS = "tunemax:plugins"
"""The plug-ins that its parts come from, as JSON text: see `tunemax.gpt.plugins.PluginRecord`. None of a study without.
"""
FILES = "tunemax:files"
"""The mark of the folder in which the files of its trials lie: see `tunemax.search.storage.sharing`."""
SEEDS_USED = "tunemax:seeds_used"
"""On a tuned one: the highest seed that a confirmation has used, by its multiple of the horizon, as JSON text."""

# on a study of agents, or of a baseline's tuning; those are no questions
SCENE = "tunemax:scene"
"""The environment that was steered, as JSON text."""
CHOSEN = "tunemax:chosen"
"""What the tuning of a baseline has come to, as JSON text: see `tunemax.search.rl.baselines.Tuned`."""
VALIDATED = "tunemax:validated"
"""Of a baseline's tuning, by number of the trial: its return on validation instances and their member-steps."""

# on a trial
FOLDER = "folder"
"""Of the training of an agent: where its files are."""
WORKER = "tunemax:worker"
"""The mark of the worker that trains the trial, or has trained it (see `marks`); a waiting one has none."""
FAILURES = "failures"
"""The workers that died on the trial: a list of {"iteration": of its last report, "reason"}."""
IDENTITY = "identity"
ITERATIONS = "iterations"
"""Iterations trained for this trial: its member-steps. 0 for a duplicate."""
TOKENS = "tokens"
"""Tokens trained on for this trial; 0 for a duplicate, as FLOPS are."""
FLOPS = "flops"
"""Floating-point operations of that, as `tunemax.gpt.cost` counts them."""
PARAMETERS = "parameters"
"""Numbers that the trial trains."""
STEP_SECONDS = "step_seconds"
"""Seconds of an iteration trained by itself, where iterations follow from a budget of seconds."""
TRAIN_LOSS = "train_loss"
RATE = "final_learning_rate"
"""The learning rate where the training ended."""
GUARDED = "guarded"
"""The share of attention entries that the variant's guard changes at the end, in the layer and head that has most."""
PATH = "path"
"""Which way the arithmetic took: eager or compiled, precision, who multiplied matrices."""
DIVERGED = "diverged"
"""Why the training was stopped; its value is then the cap."""
SPIKES = "spikes"
"""Iterations whose training loss was above the cap, if there were any; the highest of these losses, and the first."""
HIGHEST_SPIKE = "highest_spike"
FIRST_SPIKE = "first_spike"
DUPLICATE_OF = halving.DUPLICATE_OF
"""Number of the trial that trained the same thing before."""
REASON = "reason"
"""Why a trial failed."""
CANCELLED = "cancelled"
"""The reason of a trial that `tunemax study cancel` has withdrawn."""
SPARED = halving.SPARED
"""The step at which the pruner would have stopped the trial, which was let through on purpose."""
LEARNED = "final_"
"""Prefix of the mean final values of a variant's learnables: final_beta, final_gamma."""

# on a trial, among its system attributes: a user attribute is a column of the dashboard's table, which long texts spoil
PACE = "tunemax:pace"
"""Of a budget of seconds: {"shape": of the trial, "seconds": of an iteration}, as measured or taken over."""
SPARED_SHARE = "tunemax:spared"
"""Of a spared trial: the share of trials that were spared then. It stands for as many as the inverse."""
KNOWN = "tunemax:known"
"""Of a trial that was enqueued with parameters when its study was laid out: a baseline, a point of a grid. One that
somebody has enqueued by hand has none."""
CONFIG = "tunemax:config"
"""The full configuration, as flat JSON text."""
ORIGIN = "tunemax:origin"
"""The code, versions and device of each part of the training: see `tunemax.search.storage.origins`."""
TRAJECTORY = "tunemax:trajectory"
"""How the learnables moved, as JSON text: ``{"iteration": [0, 250, …], "beta": [[mean of layer 0, …], …], …}``.

What a learnable stands for is there under its own name: ``row_max`` for beta, ``denominator`` for gamma."""

_NUMBER, _WHOLE, _TEXT = (int, float), (int,), (str,)
USER_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys((WORKER, IDENTITY, PATH, DIVERGED, REASON), _TEXT),
    **dict.fromkeys((ITERATIONS, TOKENS, PARAMETERS, SPIKES, FIRST_SPIKE, DUPLICATE_OF, SPARED), _WHOLE),
    **dict.fromkeys((FLOPS, STEP_SECONDS, TRAIN_LOSS, RATE, GUARDED, HIGHEST_SPIKE), _NUMBER),
    FAILURES: (list,),
}
"""What is written under each of these keys on a trial."""
SYSTEM_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys((CONFIG, TRAJECTORY), _TEXT),
    **dict.fromkeys((PACE, "fixed_params"), (dict,)),
    SPARED_SHARE: _NUMBER,
    ORIGIN: (list,),
}
"""The same among its system attributes."""


STATES = ("complete", "pruned", "diverged", "duplicate", "failed", "cancelled", "running", "waiting")
"""What a trial can be, one thing at a time: `state`."""
ENDED = ("complete", "pruned", "diverged")
"""Of these: what a training of its own has come to."""


def state(trial: FrozenTrial) -> str:
    """Where a trial stands, as Optuna's state and our marks say together: one of STATES.

    A trial that has ended with an infinite loss has diverged, whoever trained it.
    """
    if not trial.state.is_finished():
        return trial.state.name.lower()
    if trial.state == TrialState.FAIL:
        return "cancelled" if trial.user_attrs.get(REASON) == CANCELLED else "failed"
    if DUPLICATE_OF in trial.user_attrs:
        return "duplicate"
    if trial.state == TrialState.PRUNED:
        return "pruned"
    return "complete" if math.isfinite(trial.values[0]) and DIVERGED not in trial.user_attrs else "diverged"


def ranks(trial: FrozenTrial) -> bool:
    """Whether a trial can be anybody's best: tunemax has trained it to an end, and knows with which configuration.

    Not one that was told with other tools: nobody could train it again.
    """
    return trial.state == TrialState.COMPLETE and CONFIG in trial.system_attrs


def has_diverged(trial: FrozenTrial) -> bool:
    """Whether a trial has diverged, or is the duplicate of one that has."""
    if trial.state != TrialState.COMPLETE:
        return False
    return DIVERGED in trial.user_attrs or not math.isfinite(trial.values[0])


@dataclass(frozen=True)
class Outcome:
    """A trial that `ranks`, as the statistics see it."""

    number: int
    value: float
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    """Full and flat."""
    iterations: int
    tokens: int | None
    flops: float | None
    parameters: int | None
    """None, as tokens and flops are, of a trial from before they were counted."""
    diverged: str | None
    duplicate_of: int | None


def failures(value: Any) -> list[dict[str, Any]]:
    """What is written under FAILURES; without what tunemax would not have written there."""
    listed = value if isinstance(value, list) else []
    return [each for each in listed if isinstance(each, dict) and isinstance(each.get("iteration"), int)]


def configuration(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial of ours has trained, full and flat. Raises TunemaxError if it cannot be read."""
    try:
        config = json.loads(trial.system_attrs[CONFIG])
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise TunemaxError(f"trial {trial.number}: its configuration cannot be read; restore a copy of the database")
    return config


def outcome(trial: FrozenTrial) -> Outcome:
    """The record of a trial that `ranks`."""
    attrs = trial.user_attrs
    assert trial.value is not None
    return Outcome(
        number=trial.number,
        value=trial.value,
        params=trial.params,
        config=configuration(trial),
        iterations=attrs.get(ITERATIONS, 0),
        tokens=attrs.get(TOKENS),
        flops=attrs.get(FLOPS),
        parameters=attrs.get(PARAMETERS),
        diverged=attrs.get(DIVERGED),
        duplicate_of=attrs.get(DUPLICATE_OF),
    )


def iteration(trial: FrozenTrial, budget: Budget, step: int) -> int:
    """The iteration that a step of a trial's reports comes to. Of somebody else's trial, the step itself."""
    if CONFIG not in trial.system_attrs or budget.horizon is not None or not step:
        return step
    return budget.course(Config.stored(configuration(trial))).iteration(step)


def losses(trial: FrozenTrial, budget: Budget) -> dict[int, float]:
    """What a trial has reported, by iteration."""
    return {iteration(trial, budget, step): loss for step, loss in trial.intermediate_values.items()}


def outcomes(trials: Iterable[FrozenTrial]) -> list[Outcome]:
    """Every trial that `ranks`, best first; ties in order of number."""
    return sorted(map(outcome, filter(ranks, trials)), key=lambda trial: (trial.value, trial.number))
