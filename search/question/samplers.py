"""Samplers and pruners as a study's definition chooses them, with settings that Optuna's traps have taught.

Neither is stored in Optuna's database; every worker builds its own from the definition.
"""

from __future__ import annotations

import importlib.util
import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.random import key
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.suggest import conditional

GP_TRIALS = 300
"""Trials up to which a Gaussian process is asked in seconds."""


def sampler_name(definition: StudyDefinition, study_name: str) -> str:
    """Which sampler a sibling study has: what the definition says, and what its `auto` means there."""
    if definition.sampler.name != "auto":
        return definition.sampler.name
    flat = not conditional(definition, definition.siblings()[study_name])
    return "gp" if flat and definition.pruner.name == "none" and definition.budget.trials <= GP_TRIALS else "tpe"


def make_sampler(definition: StudyDefinition, study_name: str, worker: int, trials: int = 0) -> BaseSampler:
    """The sampler of one worker for one sibling study.

    worker: its index. trials: how many trials the study has begun; a sampler's seed comes from the study's seed and
    both of these, since one seed in all workers, or again after a restart, repeats the same points. qmc is the
    exception: its workers share one sequence. Raises TunemaxError if a package is missing.
    """
    name = sampler_name(definition, study_name)
    own = key(definition.seed, "sampler", worker, trials) % 2**32
    startup = definition.sampler.startup or min(10, max(4, definition.budget.trials // 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # QMCSampler, and `group` of TPE
        if name == "tpe":
            return TPESampler(
                seed=own, n_startup_trials=startup, group=conditional(definition, definition.siblings()[study_name])
            )
        if name == "qmc":
            shared = key(definition.seed, "sampler") % 2**32
            return QMCSampler(
                seed=shared, scramble=True, independent_sampler=RandomSampler(seed=own), warn_independent_sampling=False
            )
        if name == "cmaes":
            _need("cmaes", "cmaes")
            return CmaEsSampler(seed=own, n_startup_trials=startup, warn_independent_sampling=False)
        if name == "gp":
            _need("gp", "scipy")
            return GPSampler(seed=own, n_startup_trials=startup, warn_independent_sampling=False)
    return RandomSampler(seed=own)  # also for grid, whose trials are all enqueued with their parameters


def make_pruner(definition: StudyDefinition) -> BasePruner:
    """The pruner of a study whose trials report at iterations up to its horizon.

    Ask it only where `Pruner.asked_at` says so.
    """
    settings = definition.pruner
    first = settings.first_rung(definition.budget.horizon)
    if first is None:
        return NopPruner()
    if settings.name == "median":
        return MedianPruner(n_startup_trials=settings.startup, n_warmup_steps=first)
    return SuccessiveHalvingPruner(min_resource=first, reduction_factor=settings.reduction)


def _need(sampler: str, package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise TunemaxError(
            f"sampler = {sampler}: needs the Python package {package}; `pip install {package}`, or take tpe"
        )
