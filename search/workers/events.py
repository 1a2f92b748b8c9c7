"""What a worker tells whoever watches it: small picklable facts, one class each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Started:
    """A trial has taken a slot. iteration: where it goes on; 0 unless it resumes from a snapshot."""

    worker: int
    study: str
    trial: int
    horizon: int
    iteration: int = 0


@dataclass(frozen=True)
class Advanced:
    """How far trials have come between two evaluations, told now and then. iterations: (study, trial) → iteration."""

    worker: int
    iterations: Mapping[tuple[str, int], int]


@dataclass(frozen=True)
class Reported:
    """A running trial was evaluated. value: validation loss in nats a token."""

    worker: int
    study: str
    trial: int
    iteration: int
    value: float


@dataclass(frozen=True)
class Finished:
    """A trial has left its slot.

    state: complete, pruned, diverged, duplicate, failed, dropped (somebody else has finished it meanwhile), or returned
    (interrupted; it waits to be taken again).
    """

    worker: int
    study: str
    trial: int
    iteration: int
    state: str
    value: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Gone:
    """A worker has ended, well or badly: what it had not finished runs no more."""

    worker: int


@dataclass(frozen=True)
class Note:
    """A line for the user."""

    worker: int
    text: str


Event = Started | Advanced | Reported | Finished | Gone | Note


@dataclass(frozen=True)
class Outage:
    """The storage is out of reach, and waited for; or that is over. text: a line for the user.

    Every worker notices it, and the user is told once: as a Note.
    """

    worker: int
    text: str
    over: bool
