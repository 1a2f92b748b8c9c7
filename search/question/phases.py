"""Whether the trials of a study are in the same phase of their learning rate where the pruner compares them.

A trial whose rate has decayed already is ahead of one whose rate has not, whichever is better in the end. Trials are
compared at equal shares of one budget, and schedules are made of shares, so they differ only by what the space has of
the schedule. A cooled rung is the end of a full decay for every trial, whatever its schedule's fractions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from tunemax.gpt.config import Config
from tunemax.gpt.fields import Value
from tunemax.gpt.schedule import decay_start, lr_factor, warmup_end
from tunemax.gpt.train_config import TrainConfig
from tunemax.search.question.budget import SHARES, VOCABULARY
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import combinations, extremes, shown
from tunemax.search.question.work import lengths
from tunemax.search.question.yaml_lines import Fault

SHAPE = ("schedule", "warmup_fraction", "decay_fraction")
"""The fields that decide when the learning rate is in which phase."""
LOOKS = 500
"""Iterations at which schedules are compared, at most."""


def check_phases(definition: StudyDefinition) -> None:
    """Raise Fault if trials would be compared in different phases, or a cooled rung is reached by no full decay."""
    check = _check_cooled if definition.pruner.cooled else _check_same
    if definition.pruner.prunes:
        for fixed in definition.siblings().values():
            check(definition, fixed)


def _check_same(definition: StudyDefinition, fixed: Mapping[str, Value]) -> None:
    """Every schedule of the sibling has the same rate, relative to its peak, from the first rung on."""
    length = definition.budget.horizon or SHARES  # of other units shares are compared, whatever a trial's iterations
    first = definition.pruner.first_rung(length)
    looks = range(first, length, max(1, (length - first) // LOOKS))
    searched = [name for name in SHAPE if name in definition.dimensions(fixed)]
    alike: tuple[float, ...] | None = None
    for config in _schedules(definition, fixed, length):
        factors = tuple(lr_factor(config.train, iteration) for iteration in looks)
        if alike is not None and max(abs(a - b) for a, b in zip(alike, factors, strict=True)) > 1e-9:
            clash = "the pruner would compare trials in different phases of their learning rate"
            remedy = f"fix {' and '.join(searched)} in base, or write pruner: none"
            if "schedule" not in searched:
                remedy += ", or cool its rungs (schedule: wsd in base, pruner: {name: asha, cooled: true})"
            raise Fault(("space", searched[0]), f"{clash}; {remedy}")
        alike = factors


def _check_cooled(definition: StudyDefinition, fixed: Mapping[str, Value]) -> None:
    """Every schedule of the sibling is wsd, and its branches leave the trunk after its warm-up."""
    where = ("pruner", "cooled")
    for config in itertools.chain(*(_schedules(definition, fixed, length) for length in _lengths(definition))):
        train, course = config.train, definition.budget.course(config)
        if train.schedule != "wsd":
            needs = "needs schedule: wsd in base, since a branch leaves a stable rate"
            raise Fault(where, f"{needs}; it is {shown(train.schedule)}")
        for rung in map(course.iteration, definition.pruner.cooled_rungs(course.steps)):
            start = decay_start(train, rung)
            at = f"the branch to rung {rung} decays from iteration {start} (decay_fraction {train.decay_fraction:g})"
            if rung - start < 2:
                remedy = "take a longer horizon or a larger decay_fraction"
                raise Fault(where, f"{at}, which is too short to decay; {remedy}")
            if start < warmup_end(train):
                until = f"the warm-up ends at {warmup_end(train)} (warmup_fraction {train.warmup_fraction:g})"
                raise Fault(where, f"{at}, but {until}; lower one of the fractions, or take a later pruner.warmup")


def _lengths(definition: StudyDefinition) -> set[int]:
    """Iterations of the longest and the shortest trials; of operations and seconds they are not known yet."""
    if definition.budget.tokens is None:
        return {definition.budget.horizon or SHARES}
    found = lengths(definition, VOCABULARY)
    return {min(found), max(found)}


def _schedules(definition: StudyDefinition, fixed: Mapping[str, Value], length: int) -> Iterator[Config]:
    """The schedules that a sibling's trials may have: of ranges the ends, between which a rate lies between theirs."""
    space = {name: dimension for name, dimension in definition.dimensions(fixed).items() if name in SHAPE}
    given = {name: value for name, value in fixed.items() if name in TrainConfig.model_fields} | {"max_iters": length}
    for chosen in combinations(space, given, extremes):
        yield Config.of({**given, **chosen})
