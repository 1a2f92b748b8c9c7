"""A task: what is trained, what an agent may move, and how often; all else about an environment follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tunemax.envs.controls import GAIN, GAMMA, Actions, Dial, find_dial
from tunemax.envs.ids import IDS, SMALL, Row
from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError, did_you_mean

MOST_CONTROLS = 8
"""Each adds two numbers to the observation, which stays a small vector."""


@dataclass(frozen=True)
class Task:
    """What all trainings of one environment share.

    controls: names of fields that are controls, or `gain`.
    fields: the configuration of a training by flat names. A learnable that is controlled is taken away from SGD.
    horizon: iterations of an episode, unless an instance has its own. frame_skip: of one step; divides the horizon.
    action: how an action is written, see `Actions`.
    windows: validation windows, always the same, that the reward is measured on.
    test_windows: windows of the test slice for the loss at the end of an episode; 0 does not measure it.

    Raises TunemaxError for what is unknown or does not go together.
    """

    controls: tuple[str, ...]
    fields: Mapping[str, Any] = field(default_factory=dict)
    horizon: int = 400
    frame_skip: int = 20
    action: str = "box"
    windows: int = 32
    test_windows: int = 128

    def __post_init__(self) -> None:
        for name, least in (("horizon", 1), ("frame_skip", 1), ("windows", 1), ("test_windows", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise TunemaxError(f"{name} = {value}: expected a whole number of at least {least}")
        self.steps(self.horizon)
        names = [dial.name for dial in self.dials]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise TunemaxError(f"control {twice[0]}: given twice; keep one")
        if len(names) > MOST_CONTROLS:
            raise TunemaxError(f"{len(names)} controls: at most {MOST_CONTROLS} can be steered at once")
        moved = {dial: GAMMA if dial.name == GAIN else dial.name for dial in self.dials}
        held = [name for dial, field in moved.items() for name in {*dial.learnables, field}]
        if both := sorted(name for name in held if held.count(name) > 1):
            raise TunemaxError(f"controls {', '.join(names)}: two of them move {both[0]}; leave one out")
        inert = [name for name in held if name not in self.config.held()]
        if inert:
            reason = "means nothing once the others are taken away from SGD"
            raise TunemaxError(f"control {inert[0]}: {reason}; leave it out")
        Actions(self.action, len(names))

    @cached_property
    def config(self) -> Config:
        """The configuration of a training before an instance changes it."""
        base = Config.of({**self.fields, "max_iters": self.horizon})
        learnables = {name for dial in self.dials for name in dial.learnables}
        group_of = {name: name.rpartition(".") for name in learnables}
        return base.replace({f"{group}.learn_{own}": False for group, _, own in group_of.values()})

    @cached_property
    def dials(self) -> tuple[Dial, ...]:
        """What actions move, in the order of `controls`."""
        base = Config.of({**self.fields, "max_iters": self.horizon})
        return tuple(find_dial(name, base) for name in self.controls)

    @cached_property
    def actions(self) -> Actions:
        return Actions(self.action, len(self.dials))

    def steps(self, horizon: int) -> int:
        """Steps of an episode of this horizon. Raises TunemaxError if it is no whole number."""
        if horizon % self.frame_skip:
            skip = self.frame_skip
            raise TunemaxError(f"horizon = {horizon}: not a multiple of frame_skip = {skip}; change one of them")
        return horizon // self.frame_skip

    def left_to_sgd(self) -> Task:
        """The same trainings with nothing controlled: SGD moves all learnables, from where an instance starts them."""
        return replace(self, controls=(), action="box")


def full_id(name: str) -> str:
    """An id as it is registered, of one that may lack `tunemax/`, or have before it what Gymnasium is to import."""
    module, _, given = name.rpartition(":")
    known = given if module in ("", "tunemax.envs", "envs") else name  # ``envs:`` is from before it was tunemax.envs
    return known if "/" in known else f"tunemax/{known}"


def find_row(name: str) -> Row:
    """The row of an id. Raises TunemaxError if there is none."""
    full = full_id(name)
    if full not in IDS:
        raise TunemaxError(f"environment {name}: no such id{did_you_mean(full, IDS)}")
    return IDS[full]


def task_of(name: str, config: Mapping[str, Any] | None = None, action: str = "box", **given: Any) -> Task:
    """The task of an id with some arguments changed; None leaves them."""
    row = find_row(name)
    changed = {key: getattr(row, key) for key in ("controls", "horizon", "frame_skip", "windows", "test_windows")}
    changed |= {key: value for key, value in given.items() if value is not None}
    controls = changed.pop("controls")
    names = (controls,) if isinstance(controls, str) else tuple(controls)
    if not names:
        raise TunemaxError("controls: none given; name at least one field that is a control")
    numbers = {key: value for key, value in changed.items() if value is not None}
    return Task(names, {**SMALL, **row.config, **(config or {})}, action=action, **numbers)
