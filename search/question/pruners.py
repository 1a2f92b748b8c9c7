"""Pruners as a study file names them: when a trial is stopped early. Every worker makes its own of Optuna's."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from typing import Any, ClassVar

import pydantic
from optuna.pruners import BasePruner, MedianPruner, NopPruner

from tunemax.search.question.halving import Halving
from tunemax.search.question.named import STORED, Named


class Pruner(Named, key="pruner"):
    """Which trials a study stops early. Nothing is stopped before a third of the horizon.

    A high learning rate is ahead early and behind late: pruning earlier was measured to be worse than none.
    """

    prunes: ClassVar[bool] = True
    """Whether it ever stops a trial."""

    name: str = "median"
    warmup: float = pydantic.Field(
        1 / 3, ge=0.33, lt=1, description="share of the horizon before anything is pruned; asha's first rung"
    )
    startup: int = pydantic.Field(
        5, ge=1, le=1000, description="median only: finished trials before anything is pruned"
    )
    reduction: int = pydantic.Field(
        2, ge=2, le=10, description="asha only: one in so many goes on, and the next rung is so many times later"
    )
    cooled: bool = pydantic.Field(
        False,
        description="asha only: a trial is judged at a rung by a branch that decays fully until there; needs schedule: "
        "wsd in base",
    )
    spared: float = pydantic.Field(
        0.1,
        ge=0,
        le=1,
        description="share of the trials that train on although the pruner would stop them, to see what it misses",
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _as_stored(cls, given: Any, info: pydantic.ValidationInfo) -> Any:
        """In a definition from before trials were spared, none is."""
        return {"spared": 0.0, **given} if info.context == STORED and "spared" in cls.takes else given

    @abstractmethod
    def make(self, horizon: int) -> BasePruner:
        """Optuna's pruner of trials that report up to the horizon, in the steps of `budget.Course`. Ask it only where
        `asked_at` says so."""

    def first_rung(self, horizon: int) -> int:
        """The first step at which a trial may be stopped early."""
        return math.ceil(self.warmup * horizon - 1e-9)

    def rungs(self, horizon: int) -> tuple[int, ...]:
        """The steps below the horizon at which trials are compared; nothing if that is at every evaluation."""
        return ()

    def cooled_rungs(self, horizon: int) -> tuple[int, ...]:
        """The rungs at which a trial is judged by a branch of its own; nothing unless they are cooled."""
        return self.rungs(horizon) if self.cooled else ()

    def asked_at(self, step: int, horizon: int) -> bool:
        """Whether a trial that has reported at this step may be stopped there.

        To ask costs a reading of the whole study.
        """
        if not self.prunes or step >= horizon:  # at the horizon a trial is complete, whatever asha would say
            return False
        return step in self.rungs(horizon) if self.cooled else step >= self.first_rung(horizon)


class NoPruner(Pruner, name="none"):
    help = "every trial trains to the horizon"
    prunes = False

    def make(self, horizon: int) -> BasePruner:
        return NopPruner()


class Median(Pruner, name="median", takes=("warmup", "startup", "spared")):
    help = "stops what is worse than the median of the finished trials after equal work"

    def make(self, horizon: int) -> BasePruner:
        return MedianPruner(n_startup_trials=self.startup, n_warmup_steps=self.first_rung(horizon))


class Asha(Pruner, name="asha", takes=("warmup", "reduction", "cooled", "spared")):
    help = "asynchronous successive halving"

    def make(self, horizon: int) -> BasePruner:
        return Halving(self.rungs(horizon), self.reduction)

    def rungs(self, horizon: int) -> tuple[int, ...]:
        rungs = (self.first_rung(horizon) * self.reduction**k for k in itertools.count())
        return tuple(itertools.takewhile(lambda rung: rung < horizon, rungs))
