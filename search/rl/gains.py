"""What there is to be won in an environment, as it was measured: each way to choose beside the best single setting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pydantic

from tunemax.envs.agents.scene import Scene
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import write_whole
from tunemax.search.question.counting import counted
from tunemax.search.results.statistics import Estimate, estimate, percent_digits
from tunemax.search.views import rounding
from tunemax.search.views.document import Column, Table, at

REFERENCE = "one setting"
"""The best single setting, held from start to end: what all else is compared with."""
WORTH = 0.01
"""Nothing is to be won where the oracle's interval ends below this share of the loss, and holds 0."""
FILE = "headroom.json"


class Way(pydantic.BaseModel):
    """One way to choose.

    name: `one setting`, `by n_embd`, `by training`, `schedule`, `look-ahead 2`. validation: the mean gain where it was
    chosen, as a share of the loss. losses: on the test slice of each test instance, in nats a token; what diverged has
    the cap. choosing: member-steps until it could be used first. training: member-steps of each use, the mean.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    name: str
    validation: float
    losses: tuple[float, ...]
    diverged: int
    choosing: int
    training: int


class Gain(pydantic.BaseModel):
    """What a way has won, as a share of the test loss of the best single setting, with its 95 % interval."""

    model_config = pydantic.ConfigDict(frozen=True)

    way: Way
    mean: float
    low: float
    high: float

    @property
    def relative(self) -> tuple[float, float, float]:
        return self.mean, self.low, self.high


class Headroom(pydantic.BaseModel):
    """What there is to be won by choosing, on test instances.

    setting: the best single one, the value of each control. instances: test instances by name. ways: the best single
    setting first. fields: what instances differ in, those by which a way chooses alone.

    The **oracle** is the way with the largest mean gain on validation instances, whatever it has come to on test.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    scene: Scene
    seed: int
    settings: int
    validation: int
    setting: dict[str, float]
    instances: tuple[str, ...]
    ways: tuple[Way, ...]
    fields: tuple[str, ...]

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Headroom:
        if len(self.ways) < 2 or any(len(way.losses) != len(self.instances) for way in self.ways):
            raise ValueError("ways and instances do not go together")
        return self

    @property
    def reference(self) -> Way:
        return self.ways[0]

    @cached_property
    def gains(self) -> tuple[Gain, ...]:
        """Of all ways but the best single setting, paired by instance."""
        return tuple(Gain(way=way, **_ends(shares(self.reference.losses, way.losses))) for way in self.ways[1:])

    @property
    def oracle(self) -> Gain:
        return max(self.gains, key=lambda gain: gain.way.validation)

    @property
    def any(self) -> bool:
        """Whether something is to be won: the oracle's interval lies above 0."""
        return self.oracle.low > 0

    @property
    def sentence(self) -> str:
        oracle = self.oracle
        low, high = (100 * end for end in (oracle.low, oracle.high))
        digits = percent_digits(oracle.low, oracle.high)
        within = f"({low:z.{digits}f} … {high:z.{digits}f} %)"
        extent = f"{100 * oracle.mean:z.{digits}f} % {within}"
        if not self.any:
            gains = f"{oracle.way.name} gains {extent}"
            if oracle.high < WORTH:
                return f"Nothing is to be won here by choosing for each training: {gains}."
            return f"Cannot say yet whether anything is to be won here: {gains}; measure more --instances."
        alone = [gain for gain in self.gains if gain.way.name in self.fields and gain is not oracle and gain.low > 0]
        most = max(alone, key=lambda gain: gain.way.validation, default=None)
        part = f"; {100 * most.mean:.{digits}f} % of it {most.way.name} alone" if most else ""
        return f"At most {extent} is to be won here by choosing for each training ({oracle.way.name}){part}."

    @property
    def explained(self) -> str:
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.setting.items())
        return (
            f"{counted(len(self.instances), 'test instance')}, chosen on {self.validation} of validation among "
            f"{counted(self.settings, 'setting')}. Gain: in % of the test loss of {REFERENCE} ({values}: "
            f"{sum(self.reference.losses) / len(self.instances):.4f}), paired by instance, with its 95 % interval. "
            f"The oracle, {self.oracle.way.name}, is the way that gains most on validation. To choose, a training: "
            "member-steps before the first use, and of each."
        )

    @property
    def plain(self) -> dict[str, Any]:
        """As JSON has it, with what follows from it."""
        gains = {gain.way.name: list(gain.relative) for gain in self.gains}
        derived = {"sentence": self.sentence, "oracle": self.oracle.way.name, "gains": gains}
        return {**derived, **self.model_dump(mode="json")}

    def write(self, folder: Path) -> Path:
        """Write it for `rl evaluate`. Returns the file."""
        write_whole(folder / FILE, json.dumps(self.plain, indent=1, ensure_ascii=False).encode())
        return folder / FILE

    @classmethod
    def of(cls, scene: Scene, folder: Path) -> Headroom | None:
        """What was written there of a scene, None if nothing was. Raises TunemaxError for a damaged file."""
        path = folder / FILE
        try:
            found = cls.model_validate_json(path.read_bytes()) if path.exists() else None
        except (ValueError, OSError) as error:
            raise TunemaxError(f"{path}: no headroom can be read from it; remove it, and measure again") from error
        return found if found is None or found.scene == scene.moves else None


def shares(reference: Sequence[float], losses: Sequence[float]) -> list[float]:
    """What is won on each instance, as a share of the reference's loss."""
    return [1 - loss / other for loss, other in zip(losses, reference, strict=True)]


def table(headroom: Headroom) -> Table[Gain]:
    """A row a way, fit for 80 columns."""
    columns = (
        Column[Gain]("", at("way.name"), words=True),
        Column[Gain]("gain, 95 %", lambda gain: gain, rounding.difference),
        Column[Gain]("validation", at("way.validation"), "{:+.2%}".format),
        Column[Gain]("diverged", at("way.diverged")),
        Column[Gain]("to choose", at("way.choosing"), rounding.many),
        Column[Gain]("a training", at("way.training"), rounding.count),
    )
    itself = Gain(way=headroom.reference, mean=0.0, low=0.0, high=0.0)
    return Table(columns, (itself, *headroom.gains))


def _ends(values: Sequence[float]) -> dict[str, float]:
    found: Estimate | None = estimate(values)
    assert found is not None  # a plan has enough instances
    return {"mean": found.mean, "low": found.low, "high": found.high}
