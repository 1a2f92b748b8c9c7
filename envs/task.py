"""A task: what is trained, what an agent may move, and how often; all else about an environment follows from it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tunemax.envs import disturbances
from tunemax.envs.controls import Actions, Dial, LayerDial, find_dial
from tunemax.envs.ids import IDS, SMALL, Row
from tunemax.envs.variation import HORIZON, Varied, named
from tunemax.gpt.config import SPELT, Config, all_specs, changed, resolve
from tunemax.gpt.defaults import SCHEMA, defaults_of
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import shown

MOST_CONTROLS = 8
"""Each adds two numbers to the observation, which stays a small vector."""
RATIO, SHARE = "variant_lr_ratio", "feedback_share"
OF_A_ROW = ("controls", "horizon", "frame_skip", "windows", "test_windows", "vary", "disturb", "reward_scale")
"""What a row of the ids says of a task, beside its configuration."""


@dataclass(frozen=True)
class Task:
    """What all trainings of one environment share.

    controls: names of fields that are controls, or `gain`; a learnable of one layer is ``constantmax.gamma@0``.
    fields: the configuration of a training by flat names. A learnable that is controlled is taken away from SGD.
    horizon: iterations of an episode, unless an instance has its own. frame_skip: of one step; divides the horizon.
    action: how an action is written, see `Actions`.
    windows: of the validation slice, on which the reward is measured: always the same ones for a set of instances.
    test_windows: of the test slice, for the loss at the end of an episode; 0 does not measure it. How far the loss
    depends on which windows these are is in docs/environments.md.
    whole_slices: every set is measured on the same windows of whole slices, as the ids of before are.
    vary: what instances differ in, by flat name or `horizon`: a list of values, or what `Varied` has; see there.
    disturb: what happens on the way: `text`, datasets to shift to; `rate`, the least and the largest factor of the
    learning rate; `layer`, true restarts one. One of each comes in every episode; see `disturbances`.
    reward_scale: a reward is so many times the fall of the log loss, so that it is of order 1 a step. A constant of the
    task; whatever else is told of returns is told in nats.

    Raises TunemaxError for what is unknown or does not go together.
    """

    controls: tuple[str, ...]
    fields: Mapping[str, Any] = field(default_factory=dict)
    horizon: int = 400
    frame_skip: int = 20
    action: str = "box"
    windows: int = 32
    test_windows: int = 256
    vary: Mapping[str, Any] = field(default_factory=dict)
    disturb: Mapping[str, Any] = field(default_factory=dict)
    reward_scale: float = 1.0
    whole_slices: bool = False

    def __post_init__(self) -> None:
        scale = self.reward_scale
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale < math.inf:
            raise TunemaxError(f"reward_scale = {shown(scale)}: expected a number above 0")
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
        held = [name for dial in self.dials if dial not in self._of_layers for name in {*dial.learnables, dial.field}]
        if of_layers := {dial.field for dial in self._of_layers}:
            held += [*of_layers, RATIO]
        if both := sorted(name for name in held if held.count(name) > 1):
            raise TunemaxError(f"controls {', '.join(names)}: two of them move {both[0]}; leave one out")
        inert = [name for name in held if name not in self.config.held()]
        if inert:
            reason = "means nothing once the others are taken away from SGD"
            raise TunemaxError(f"control {inert[0]}: {reason}; leave it out")
        self._check_feedback()
        Actions(self.action, len(names))
        for horizon in (*self.horizons, *self.held_out(HORIZON)):
            self.steps(horizon)
        for values in self.variations():
            self.config_of(values)
        if self.events and min(self.horizons) < 2 * self.frame_skip:
            raise TunemaxError("disturb: an episode of one step has no place for it; take a longer horizon")

    @cached_property
    def config(self) -> Config:
        """The configuration of a training before an instance changes it."""
        return self._changed({})

    def config_of(self, values: Mapping[str, Any]) -> Config:
        """The configuration with other values of some fields.

        Raises TunemaxError for a field that means nothing there, for what says that SGD moves what actions move, and
        for a training that lacks a control.
        """
        named_as = {name: resolve(name) for name in values if "@" not in name}  # the others are of one layer
        given = {known: values[name] for name, known in named_as.items()}
        config = self._changed(given)
        held = config.held()
        if inert := [name for name in given if name not in held]:
            raise TunemaxError(f"{inert[0]}: {config.why_inert(inert[0])}")
        if both := sorted(given.keys() & self._switches.keys()):
            raise TunemaxError(f"{both[0]}: actions move what SGD would; leave it out")
        for dial in self.dials:
            if dial.field not in held:
                raise TunemaxError(f"control {dial.name}: {config.why_inert(dial.field)}")
        layers, now = self.config.model.n_layer, config.model.n_layer
        if self._of_layers and now != layers:
            remedy = f"let all trainings have {layers}, or all layers one control"
            raise TunemaxError(f"control {self._of_layers[0].name}: of a layer, and n_layer = {now}; {remedy}")
        for name in values.keys() - named_as.keys():
            all_specs()[find_dial(name, config).field].check(values[name])
        return config

    def meant(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of some fields that mean something in one of its trainings at least."""
        configs = [self.config, *map(self.config_of, self.variations())]
        moved = {dial.field for dial in self.dials}
        names = {SPELT}
        for config in configs:
            active = config.active()
            names |= {name for name in config.held() if name in active or all_specs()[name].depends_on & moved}
        return {name: value for name, value in given.items() if resolve(name) in names}

    def check_meant(self, given: Mapping[str, Any]) -> None:
        """Raise TunemaxError if one of some fields that somebody gave would be ignored."""
        meant, switches = self.meant(given), self._switches
        for given_name, value in given.items():
            name = resolve(given_name)
            if given_name not in meant:
                raise TunemaxError(f"{name} = {shown(value)}: {self.config.why_inert(name)}")
            if name in switches and all_specs()[name].check(value) != switches[name]:
                moved = f"actions move what SGD would, so it is {shown(switches[name])}"
                raise TunemaxError(f"{name} = {shown(value)}: {moved}; leave it out")

    def _check_feedback(self) -> None:
        """A share that is steered, or is there, can come to something."""
        steered = [dial for dial in self.dials if dial.field == SHARE]
        for dial in steered:
            self.config.checked(self.config.held(), SHARE, dial.high)
        for horizon in self.horizons:
            self.config.feedback.check_horizon(horizon, steered=bool(steered))

    def _changed(self, given: Mapping[str, Any]) -> Config:
        base = {resolve(name): value for name, value in self.fields.items()}
        return Config.of(changed({**base, "max_iters": self.horizon, **self._switches}, given))

    @cached_property
    def _switches(self) -> Mapping[str, Any]:
        """What takes the controlled learnables away from SGD; those of single layers stay in it, at a rate of 0."""
        learnables = {name.rpartition(".") for dial in self.dials for name in dial.learnables}
        away = {f"{group}.learn_{own}": False for group, _, own in learnables}
        return {**away, RATIO: 0.0} if self._of_layers else away

    @property
    def _of_layers(self) -> list[LayerDial]:
        return [dial for dial in self.dials if isinstance(dial, LayerDial)]

    @cached_property
    def varied(self) -> Mapping[str, Varied]:
        """What instances differ in, checked, by canonical name."""
        base = Config.of({**self.fields, "max_iters": self.horizon}).flat()
        steered = {*self._switches, *(name for dial in self.dials for name in (*dial.learnables, dial.field))}
        found: dict[str, Varied] = {}
        for given, values in self.vary.items():
            name = named(given)
            if name in found:
                raise TunemaxError(f"vary {name}: given twice, also under another name; keep one")
            if name in steered:
                raise TunemaxError(f"vary {name}: it is steered, and starts wrong by itself; leave it out")
            own = self.horizon if name == HORIZON else base.get(name, all_specs()[name].default)
            found[name] = Varied.of(name, values).checked(name, own)
        return found

    @cached_property
    def events(self) -> Mapping[str, Any]:
        """The disturbances that are asked for, checked, by kind."""
        return disturbances.checked(self.disturb, self.controls)

    @property
    def horizons(self) -> tuple[int, ...]:
        """Of training, validation and test."""
        return tuple(map(int, self.varied[HORIZON].values)) if HORIZON in self.varied else (self.horizon,)

    def drawn(self, name: str) -> tuple[Any, ...]:
        """What instances of training, validation and test have of a field: the one that the task gives it, unless it
        varies. Of a range, its ends."""
        each = self.varied.get(name)
        if each is None:
            return (self.config.flat()[name],)
        return each.values or (each.low, each.high)

    def held_out(self, name: str) -> tuple[Any, ...]:
        """What transfer sets draw of a field, nothing if nothing is held out."""
        return self.varied[name].held_out if name in self.varied else ()

    def sized(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What was drawn of fields that vary, without those that mean nothing beside the others.

        Where a width is drawn and no number of heads is, a head keeps its width. Raises TunemaxError if it cannot.
        """
        own, width = dict(values), self.config.attention.head_width(self.config.model)
        if "n_embd" in own and "n_head" not in own:
            own["n_head"], rest = divmod(own["n_embd"], width)
            if rest:
                head = f"not a multiple of {width}, the width of a head"
                raise TunemaxError(f"vary n_embd: {own['n_embd']} is {head}; take one, or vary n_head, too")
        held = Config.of({**self.fields, "max_iters": self.horizon, **own}).held()
        return {name: value for name, value in own.items() if name in held}

    def variations(self) -> Iterator[dict[str, Any]]:
        """Every value of every field that varies: widths with each number of heads, all others by themselves.

        A field of a variant comes with that variant, if that varies.
        """
        drawn = {
            name: (*each.values, *each.held_out, *(end for end in (each.low, each.high) if end is not None))
            for name, each in self.varied.items()
            if name != HORIZON
        }
        variants = drawn.get("softmax_variant", ())
        shapes = {name: drawn.pop(name) for name in ("n_embd", "n_head") if name in drawn}
        for shape in itertools.product(*shapes.values()):
            yield self.sized(dict(zip(shapes, shape, strict=True)))
        for name, values in drawn.items():
            group = name.rpartition(".")[0]
            beside = {"softmax_variant": group} if group in variants else {}
            yield from ({**beside, name: value} for value in values)

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

    @property
    def mean_steps(self) -> int:
        """Steps of an episode of training, validation and test; on average, up to a whole one, where horizons vary."""
        return math.ceil(sum(map(self.steps, self.horizons)) / len(self.horizons))

    def left_to_sgd(self) -> Task:
        """The same trainings with nothing controlled: SGD moves all learnables, from where an instance starts them."""
        return replace(self, controls=(), action="box", disturb={})  # an instance has its own


ANOTHER_WAY = {
    "max_iters": "an episode's iterations are its horizon",
    "seed": "every instance has its own",
    "data_start": "every instance has its own part of the text",
    "data_end": "every instance has its own part of the text",
    "eval_slice": "rewards are measured on the validation slice, and the end on the test slice",
}
"""Fields that an environment decides by itself, with what is to be said of that."""


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


def check_config(config: Mapping[str, Any] | None) -> None:
    """Refuse, for a new environment, fields that would do nothing in it: an instance has its own, or nothing asks them.

    Environments of before may have them.
    """
    for name in config if isinstance(config, Mapping) else ():
        if (known := resolve(name)) in ANOTHER_WAY:
            raise TunemaxError(f"{known}: has no effect in an environment; {ANOTHER_WAY[known]}")


def task_of(name: str, config: Mapping[str, Any] | None = None, action: str = "box", **given: Any) -> Task:
    """The task of an id with some arguments changed; None leaves them.

    A field that `config` says, or a `horizon`, varies no more where the id varies it. Raises TunemaxError.
    """
    row = find_row(name)
    changed = {key: getattr(row, key) for key in (*OF_A_ROW, "whole_slices")}
    changed |= {key: value for key, value in given.items() if value is not None}
    controls = changed.pop("controls")
    for argument, value in (("config", config), ("vary", given.get("vary")), ("disturb", given.get("disturb"))):
        if value is not None and not isinstance(value, Mapping):
            raise TunemaxError(f"{argument} = {shown(value)}: expected names with values")
    if not isinstance(controls, (str, list, tuple)) or not all(isinstance(each, str) for each in controls):
        raise TunemaxError(f"controls = {shown(controls)}: expected names of fields")
    names = (controls,) if isinstance(controls, str) else tuple(controls)
    if not names:
        raise TunemaxError("controls: none given; name at least one field that is a control")
    fixed = {resolve(field) for field in config or {}} | ({HORIZON} if given.get("horizon") is not None else set())
    if given.get("vary") is None:
        changed["vary"] = {field: values for field, values in row.vary.items() if field not in fixed}
    elif both := fixed & {named(field) for field in given["vary"]}:
        raise TunemaxError(f"vary {min(both)}: given a value of its own, too; leave one of them out")
    fields = {**defaults_of(row.schema or SCHEMA), **SMALL, **row.config, **(config or {})}
    return Task(names, fields, action=action, **{key: value for key, value in changed.items() if value is not None})
