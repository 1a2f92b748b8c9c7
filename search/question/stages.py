"""What follows a tuning: how a study file asks for a confirmation, and what confirmations and repeats are of."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import pydantic

from tunemax.gpt.fields import Value

NAME = r"[a-z0-9_][a-z0-9_-]{0,79}"
"""Of a question. Without a dot, so that none can be named as a confirmation or a repeat is, and without a leading
hyphen, by which a command line knows a flag."""
NAME_RULE = "at most 80 letters a-z, digits, _ and -, and no - before all others"
MOST_SEEDS = 1000
MOST_RUNS = 1000 * MOST_SEEDS
MARGIN = 0.005
"""Share of the reference's loss below which a difference is of no use, unless somebody says otherwise."""
MOST_MARGIN = 0.2


class Confirm(pydantic.BaseModel):
    """How the winners of a study are confirmed: trained anew on fresh seeds, and evaluated on text that no tuning has
    seen."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    seeds: int = pydantic.Field(
        12,
        ge=2,
        le=MOST_SEEDS,
        description="fresh seeds for each winner; five or fewer can never show a difference. With `runs`: as planned, "
        "some will have more and some fewer",
    )
    runs: int | None = pydantic.Field(
        None,
        ge=2,
        le=MOST_RUNS,
        description="so many runs for all candidates together: who is settled gets no more, who is not goes on; "
        "default: every candidate has all its seeds",
    )
    top: int | None = pydantic.Field(
        None,
        ge=1,
        le=1000,
        description="confirm the reference and so many others, the best first; default: every candidate",
    )
    reference: str | None = pydantic.Field(
        None, description="the candidate that the others are compared with; default: softmax, else the first"
    )
    horizons: tuple[Annotated[int, pydantic.Field(ge=1, le=100)], ...] = pydantic.Field(
        (1,), min_length=1, max_length=8, description="confirm at these multiples of the horizon, such as [1, 4]"
    )
    margin: float | None = pydantic.Field(
        None,
        gt=0,
        le=MOST_MARGIN,
        description="a difference below this share of the reference's loss is none; default: as it was begun, else "
        f"{MARGIN:g}",
    )

    @pydantic.field_validator("reference", mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        """A candidate's name is its value as a study file has it: 2.5, true."""
        return json.dumps(given) if isinstance(given, (bool, int, float)) else given

    @pydantic.field_validator("horizons", mode="before")
    @classmethod
    def _several(cls, given: Any) -> Any:
        return (given,) if isinstance(given, int) else tuple(given) if isinstance(given, list) else given


class Frozen(pydantic.BaseModel):
    """The winner of a tuning, as it is trained again."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    study: str
    trial: int
    fields: dict[str, Value]
    """Its whole configuration, flat."""
    seeds: int | None = pydantic.Field(None, ge=1, le=MOST_SEEDS)
    """The first so many of the confirmation's seeds; None: all of them."""
    apart: int = pydantic.Field(0, ge=0, le=2**52)
    """Added to each seed where it is trained. Two sides that are one configuration would else be the same runs."""

    @pydantic.model_serializer(mode="wrap")
    def _as_before(self, handler: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Older ones do not know `apart`, which is almost always 0."""
        whole: dict[str, Any] = handler(self)
        return {key: value for key, value in whole.items() if key != "apart" or value}


class Confirms(pydantic.BaseModel):
    """What a confirmation is of. Winners are frozen: a better trial that is found later does not change them."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    question: str
    factor: int = pydantic.Field(1, ge=1)
    """Its horizon as a multiple of the tuned one."""
    reference: str
    margin: float = pydantic.Field(MARGIN, gt=0, le=MOST_MARGIN)
    """Below this share of the reference's loss a difference counts as none. Chosen before anything is seen."""
    planned: int | None = pydantic.Field(None, ge=1)
    """Seeds that were planned first: more that are added later do not change it. None in one of before; see
    `first_planned`."""
    looks: tuple[int, ...] = ()
    """Of one of before: with how many seeds it was complete when it was given more."""
    rechosen: bool = False
    """Whether another candidate was the reference before. One that is chosen after a look could have been any."""
    runs: int | None = pydantic.Field(None, ge=1)
    """Of all candidates together; None: every candidate has all seeds. See `results.rounds`."""
    winners: dict[str, Frozen] = pydantic.Field(min_length=1)
    """By candidate, in the order of the question."""

    @property
    def amount(self) -> str:
        """What more of it is asked by: ``seeds`` of every candidate, or ``runs`` of all."""
        return "seeds" if self.runs is None else "runs"

    def first_planned(self, seeds: int) -> int:
        """Seeds that were planned at first. seeds: those that are planned now."""
        return self.planned or (self.looks[0] if self.looks else seeds)

    @property
    def family(self) -> int:
        """Comparisons of which any may be claimed: with the reference, or of all pairs if it was chosen anew."""
        return comparisons(len(self.winners), self.rechosen)


def comparisons(candidates: int, rechosen: bool) -> int:
    """Comparisons of so many candidates of which any may be claimed; see `Confirms.family`."""
    return candidates * (candidates - 1) // 2 if rechosen else candidates - 1


class Repeat(pydantic.BaseModel):
    """Which repeat of a question's tuning this is: the second, the third, …"""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    question: str
    index: int = pydantic.Field(ge=2)
    seed: int
    """The tuning seed of the first one, from which the fresh seeds of all confirmations are counted."""


def confirmation_name(question: str, factor: int) -> str:
    """``q.confirmed``, or ``q.confirmed-4x`` at four times the horizon."""
    return f"{question}.confirmed" + (f"-{factor}x" if factor > 1 else "")


def is_name(text: str) -> bool:
    """Whether a study file may call its question so."""
    return re.fullmatch(NAME, text) is not None
