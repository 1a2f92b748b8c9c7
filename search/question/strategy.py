"""How a study looks for settings and when it gives up on a trial: the choices that a study file has."""

from __future__ import annotations

import itertools
import math
from typing import Any, Self

import pydantic

from tunemax.gpt.errors import did_you_mean

SAMPLERS = {
    "auto": "gp where it is at its best (a flat space, at most 300 trials, no pruner), else tpe",
    "tpe": "Tree-structured Parzen Estimator; a good default",
    "random": "independent draws",
    "qmc": "scrambled Sobol points, for a flat space",
    "cmaes": "CMA-ES, for numbers; choices are drawn at random",
    "gp": "a Gaussian process, for at most 300 trials in a flat space",
    "grid": "every point of a grid of choices and stepped ranges",
}
PRUNERS = {
    "none": "every trial trains to the horizon",
    "median": "stops what is worse than the median of the finished trials at the same iteration",
    "asha": "asynchronous successive halving",
}
STARTUP = ("auto", "tpe", "gp", "cmaes")
STORED = "stored"
"""The context in which pydantic reads a definition that comes from a storage, maybe of an older tunemax."""


class Sampler(pydantic.BaseModel):
    """How a study chooses the next trial."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = pydantic.Field("tpe", description="; ".join(f"{name}: {help}" for name, help in SAMPLERS.items()))
    startup: int | None = pydantic.Field(
        None,
        ge=1,
        le=1000,
        description=f"random trials before it learns ({', '.join(STARTUP)}); default a quarter of the trials, 4 to 10",
    )

    @pydantic.model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in SAMPLERS:
            raise ValueError(f"{self.name}: no such sampler{did_you_mean(self.name, SAMPLERS)}")
        if self.startup is not None and self.name not in STARTUP:
            raise ValueError(f"{self.name} has no start-up trials; leave startup out")
        return self


class Pruner(pydantic.BaseModel):
    """Which trials a study stops early. Nothing is stopped before a third of the horizon.

    A high learning rate is ahead early and behind late: pruning earlier was measured to be worse than none.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = pydantic.Field("median", description="; ".join(f"{name}: {help}" for name, help in PRUNERS.items()))
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
        stored = info.context == STORED and isinstance(given, dict) and given.get("name") != "none"
        return {"spared": 0.0, **given} if stored else given

    @pydantic.model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in PRUNERS:
            raise ValueError(f"{self.name}: no such pruner{did_you_mean(self.name, PRUNERS)}")
        both, asha = ("median", "asha"), ("asha",)
        for option, owners in {
            "warmup": both,
            "startup": ("median",),
            "reduction": asha,
            "cooled": asha,
            "spared": both,
        }.items():
            if (
                option in self.model_fields_set
                and self.name not in owners
                and getattr(self, option) != type(self).model_fields[option].default
            ):
                raise ValueError(f"{self.name} has no {option}; it belongs to {' and '.join(owners)}")
        return self

    def first_rung(self, horizon: int) -> int | None:
        """The first iteration at which a trial may be stopped early; None if none ever is."""
        return None if self.name == "none" else math.ceil(self.warmup * horizon - 1e-9)

    def rungs(self, horizon: int) -> tuple[int, ...]:
        """The rungs of asha below the horizon; of another pruner, which has none, nothing."""
        first = self.first_rung(horizon)
        if first is None or self.name != "asha":
            return ()
        return tuple(
            itertools.takewhile(lambda rung: rung < horizon, (first * self.reduction**k for k in itertools.count()))
        )

    def cooled_rungs(self, horizon: int) -> tuple[int, ...]:
        """The rungs at which a trial is judged by a branch of its own; nothing unless they are cooled."""
        return self.rungs(horizon) if self.cooled else ()

    def asked_at(self, iteration: int, horizon: int) -> bool:
        """Whether a trial that has reported at this iteration may be stopped there.

        To ask costs a reading of the whole study.
        """
        first = self.first_rung(horizon)
        if first is None or iteration >= horizon:  # at the horizon a trial is complete, whatever asha would say
            return False
        return iteration in self.rungs(horizon) if self.cooled else iteration >= first
