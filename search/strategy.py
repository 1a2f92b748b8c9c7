"""How a study looks for settings and when it gives up on a trial: the choices that a study file has."""

from __future__ import annotations

from typing import Self

import pydantic

from gpt.errors import did_you_mean

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


class Sampler(pydantic.BaseModel):
    """How a study chooses the next trial."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = pydantic.Field("tpe", description="; ".join(f"{name}: {help}" for name, help in SAMPLERS.items()))
    startup: int | None = pydantic.Field(
        None, ge=1, le=1000, description=f"random trials before it learns ({', '.join(STARTUP)}); default a quarter of the trials, 4 to 10"
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
    warmup: float = pydantic.Field(1 / 3, ge=0.33, lt=1, description="share of the horizon before anything is pruned; asha's first rung")
    startup: int = pydantic.Field(5, ge=1, le=1000, description="median only: finished trials before anything is pruned")
    reduction: int = pydantic.Field(
        2, ge=2, le=10, description="asha only: one in so many goes on, and the next rung is so many times later"
    )

    @pydantic.model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in PRUNERS:
            raise ValueError(f"{self.name}: no such pruner{did_you_mean(self.name, PRUNERS)}")
        for option, owners in {"warmup": ("median", "asha"), "startup": ("median",), "reduction": ("asha",)}.items():
            if (
                option in self.model_fields_set
                and self.name not in owners
                and getattr(self, option) != type(self).model_fields[option].default
            ):
                raise ValueError(f"{self.name} has no {option}; it belongs to {' and '.join(owners)}")
        return self
