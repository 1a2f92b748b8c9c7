"""Samplers as a study file names them, with settings that Optuna's traps have taught.

A sampler is not stored in Optuna's database; every worker makes its own.
"""

from __future__ import annotations

import importlib.util
import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import optuna
import pydantic
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.random import key
from tunemax.search.question.named import Named
from tunemax.search.question.points import RandomPoints, SobolPoints

GP_TRIALS = 300
"""Trials up to which a Gaussian process is asked in seconds."""


@dataclass(frozen=True)
class Task:
    """What a sampler has to know of a study, and of the worker that asks."""

    seed: int
    trials: int
    conditional: bool = False
    """Whether some dimensions mean something only at some values of others."""
    pruned: bool = False
    worker: int = 0
    begun: int = 0
    """Trials that the study has begun."""
    names: tuple[str, ...] = ()
    """Of all dimensions of the question."""

    @property
    def worker_seed(self) -> int:
        """For what is drawn on the way to a guess. One seed in all workers, or again after a restart, would guess the
        same."""
        return key(self.seed, "sampler", self.worker, self.begun) % 2**32

    @property
    def points(self) -> BaseSampler:
        """Draws what no result decides: point i is the same in all siblings, whoever asks."""
        return RandomPoints(self.seed)

    @property
    def even_points(self) -> BaseSampler:
        """The same, spread evenly."""
        return SobolPoints(self.seed, self.names)


class Before(Task):
    """A task of a question from before points were shared: each worker draws its own."""

    @property
    def points(self) -> BaseSampler:
        return RandomSampler(seed=self.worker_seed)

    @property
    def even_points(self) -> BaseSampler:
        shared = key(self.seed, "sampler") % 2**32
        return QMCSampler(seed=shared, scramble=True, independent_sampler=self.points, warn_independent_sampling=False)


class Sampler(Named, key="sampler"):
    """How a study chooses the next trial."""

    is_grid: ClassVar[bool] = False
    """Whether it trains each point of a grid once: points are counted, and enqueued when the study is created."""
    package: ClassVar[str] = ""
    """The Python package that it needs, beside those that tunemax needs anyway."""

    name: str = "tpe"
    startup: int | None = pydantic.Field(
        None,
        ge=1,
        le=1000,
        description="random trials before it learns (auto, tpe, gp, cmaes); default a quarter of the trials, 4 to 10",
    )

    def make(self, task: Task) -> BaseSampler:
        """Optuna's sampler for this task. Raises TunemaxError if a package is missing."""
        if self.package and importlib.util.find_spec(self.package) is None:
            remedy = f"`pip install {self.package}`, or take tpe"
            raise TunemaxError(f"sampler = {self.name}: needs the Python package {self.package}; {remedy}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # QMCSampler, and `group` of TPE
            return self.build(task)

    @abstractmethod
    def build(self, task: Task) -> BaseSampler:
        """What `make` returns."""

    def startup_of(self, task: Task) -> int:
        """How many random trials come first."""
        return self.startup or min(10, max(4, task.trials // 4))

    @classmethod
    def refusal(cls, option: str) -> str:
        if option == "startup":
            return f"{cls.key} has no start-up trials; leave startup out"
        return super().refusal(option)


class Auto(Sampler, name="auto", takes=("startup",)):
    help = "gp where it is at its best (a flat space, at most 300 trials, no pruner), else tpe"

    def build(self, task: Task) -> BaseSampler:
        best = not task.conditional and not task.pruned and task.trials <= GP_TRIALS
        return (Gp if best else Tpe)(startup=self.startup).make(task)


class Tpe(Sampler, name="tpe", takes=("startup",)):
    help = "Tree-structured Parzen Estimator; a good default"

    def build(self, task: Task) -> BaseSampler:
        return _Tpe(self.startup_of(task), task)


class Random(Sampler, name="random"):
    help = "independent draws"

    def build(self, task: Task) -> BaseSampler:
        return task.points


class Qmc(Sampler, name="qmc"):
    help = "Sobol points under a random shift, which fill the space evenly"
    package = "scipy"

    def build(self, task: Task) -> BaseSampler:
        return task.even_points


class CmaEs(Sampler, name="cmaes", takes=("startup",)):
    help = "CMA-ES, for numbers; choices are drawn at random"
    package = "cmaes"

    def build(self, task: Task) -> BaseSampler:
        return CmaEsSampler(
            seed=task.worker_seed,
            n_startup_trials=self.startup_of(task),
            independent_sampler=task.points,
            warn_independent_sampling=False,
        )


class Gp(Sampler, name="gp", takes=("startup",)):
    help = "a Gaussian process, for at most 300 trials in a flat space"
    package = "scipy"

    def build(self, task: Task) -> BaseSampler:
        return GPSampler(
            seed=task.worker_seed,
            n_startup_trials=self.startup_of(task),
            independent_sampler=task.points,
            warn_independent_sampling=False,
        )


class Grid(Sampler, name="grid"):
    help = "every point of a grid of choices and stepped ranges"
    is_grid = True

    def build(self, task: Task) -> BaseSampler:
        return task.points  # never asked: all trials are enqueued with their parameters


class _Tpe(TPESampler):
    """Optuna's, which begins with points of the task: it cannot be told where they come from."""

    def __init__(self, startup: int, task: Task) -> None:
        super().__init__(seed=task.worker_seed, n_startup_trials=startup, group=task.conditional)
        self._startup, self._points = startup, task.points

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if len(ended) < self._startup:
            return self._points.sample_independent(study, trial, param_name, param_distribution)
        return super().sample_independent(study, trial, param_name, param_distribution)
