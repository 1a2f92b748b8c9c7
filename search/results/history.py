"""How something came to be what it is: every quantity that its training has logged, by iteration."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.loggers.tensorboard import EVENTS
from tunemax.gpt.paths import lies_in
from tunemax.gpt.record import CONFIG, recorded
from tunemax.gpt.run import LOG, Row, events_folder
from tunemax.search.results.trained import Trained, Tried
from tunemax.search.storage import attributes
from tunemax.search.storage.damage import parsed

Values = dict[int, float]
"""Iteration → value."""
SHORT = {
    field.name: tag
    for place, field in enumerate(fields(Row))
    for tag, value in Row(*map(float, range(len(fields(Row))))).tags().items()  # type: ignore[arg-type]
    if value == float(place)
}
"""What a column of a run's log is called in TensorBoard, and here."""
SEVERAL = re.compile(r"softmax/(layer\d+)/(?:head\d+/)?(\w+)")
"""What is one a layer, or one a head."""


@dataclass(frozen=True)
class History:
    """What a training has logged; means over heads and layers among it, as `softmax/layer0/beta` and `softmax/beta`.

    seconds: iteration → seconds of training until then; empty where nobody has measured it.
    """

    values: Mapping[str, Values] = field(default_factory=dict)
    seconds: Values = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.values)

    def called(self, quantity: str) -> str | None:
        """The full name of a quantity that is logged, also by its short one: `validation_loss`, `beta`."""
        names = (quantity, SHORT.get(quantity, ""), f"softmax/{quantity}")
        return next((name for name in names if name in self.values), None)


def history(trained: Trained) -> History:
    """From the log of a run, from TensorBoard's files, and from what a trial has reported. Not what is not finite."""
    values: dict[str, Values] = defaultdict(dict)
    seconds: Values = {}
    folder = trained.folder
    if trained.trial:
        _of_trial(trained.trial, values)
    if folder and (folder / CONFIG).is_file() and (folder / LOG).is_file():
        config = Config.stored(recorded(folder).config)  # which has places of files
        seconds = _of_log(folder / LOG, config, values)
        folder = events_folder(folder, config)
    if folder:
        walls = _of_events(folder, values)
        seconds = seconds or walls
    return History(_with_means({name: dict(sorted(each.items())) for name, each in values.items() if each}), seconds)


def _of_log(path: Path, config: Config, values: dict[str, Values]) -> Values:
    """Take in the lines of a run's log. Gives seconds, from the speed of each stretch; empty if one is not known."""
    known = {field.name for field in fields(Row)}
    tokens, seconds, last, clock = config.train.batch_size * config.model.block_size, 0.0, 0, Values()
    for line in path.read_text(errors="replace").splitlines():
        try:
            given = {name: value for name, value in json.loads(line).items() if name in known}
            iteration = int(given["iteration"])
            tags = Row(**{**dict.fromkeys(known, math.nan), **given}).tags()
            finite = {tag: float(value) for tag, value in tags.items() if math.isfinite(value)}
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            break  # cut short
        for tag, value in finite.items():
            values[tag][iteration] = value
        seconds += (iteration - last) * tokens / finite.get("speed/tokens_per_s", math.nan)
        last, clock[iteration] = iteration, seconds
    return clock if math.isfinite(seconds) else {}


def _of_events(folder: Path, values: dict[str, Values]) -> Values:
    """Take in what TensorBoard would show of a folder, beside what is known already. Gives seconds since its first
    event, by the clock on the wall."""
    files = [path for path in folder.glob(f"{EVENTS}.*") if path.is_file() and lies_in(folder, path)]
    if not files:
        return {}
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
    try:
        read.Reload()
    except Exception as error:  # whatever a damaged file makes it raise
        raise TunemaxError(f"{folder}: its TensorBoard events cannot be read ({error}); move them away") from error
    walls: Values = {}
    for tag in read.Tags()["scalars"]:
        for event in read.Scalars(tag):
            if math.isfinite(event.value):
                values[tag].setdefault(int(event.step), float(event.value))
                walls.setdefault(int(event.step), float(event.wall_time))
    begun = min(walls.values(), default=0.0)
    return {step: wall - begun for step, wall in sorted(walls.items())}


def _of_trial(tried: Tried, values: dict[str, Values]) -> None:
    """Take in what a trial has reported, and how its learnables moved."""
    trial, question = tried.trial, tried.question
    if question:
        reported = attributes.losses(trial, question.definition.budget)
        values["loss/validation"] |= {at: loss for at, loss in reported.items() if math.isfinite(loss)}
    moved: Any = parsed(trial.system_attrs.get(attributes.TRAJECTORY))
    steps = moved.get("iteration") if isinstance(moved, dict) else None
    for name, rows in moved.items() if isinstance(steps, list) else ():
        if name == "iteration" or not isinstance(rows, list) or len(rows) != len(steps or ()):
            continue
        for step, layers in zip(steps or (), rows, strict=True):
            for layer, value in enumerate(layers):
                values[f"softmax/layer{layer}/{name}"][int(step)] = float(value)


def _with_means(values: dict[str, Values]) -> dict[str, Values]:
    """With the means over a layer's heads, and over layers."""
    groups: dict[str, list[Values]] = defaultdict(list)
    for tag, each in values.items():
        if (found := SEVERAL.fullmatch(tag)) and "/head" in tag:
            groups[f"softmax/{found[1]}/{found[2]}"].append(each)
    by_layer = {name: _mean(heads) for name, heads in groups.items() if name not in values}
    known, groups = values | by_layer, defaultdict(list)
    for tag, each in known.items():
        if (found := SEVERAL.fullmatch(tag)) and "/head" not in tag:
            groups[f"softmax/{found[2]}"].append(each)
    return known | {name: _mean(layers) for name, layers in groups.items()}


def _mean(several: list[Values]) -> Values:
    """Where all of them have a value."""
    steps = sorted(set.intersection(*map(set, several)))
    return {step: sum(each[step] for each in several) / len(several) for step in steps}
