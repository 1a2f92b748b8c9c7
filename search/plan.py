"""How a run will train: with how many members at once, compiled or not; and what its user should know before it begins."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gpt import hardware
from gpt.config import Config, all_specs
from gpt.fields import Choices, Range, Value
from gpt.layout import operations
from search import memory
from search.definition import StudyDefinition
from search.dimension import defaults
from search.memory import Footprint

VOCABULARY = 256
"""Of bytes: near enough for an estimate."""
COMPILING = 40.0
"""Seconds of a worker for one compiled function, of which a worker waits for the other's."""
SAVED = 0.15
"""The share of eager training that a compiled step saves, cautiously: 15 to 50 % in benchmarks/RESULTS.md."""
BUSY = 0.7
"""The share of a processor's matrix products a second that an eager step reaches: half for tiny models, more for others."""
FULL = 0.85
"""The share of free memory that workers may take."""
NEAR = 0.5
"""The share of free memory below which a guess is enough, and nothing is measured."""


@dataclass(frozen=True)
class Plan:
    """workers: processes. slots: members that each trains at once. compiled: whether all trials train compiled.

    lines: for the user, in plain words.
    """

    workers: int
    slots: int
    compiled: bool
    lines: tuple[str, ...]


def plan(definition: StudyDefinition, trials: int, workers: int, slots: int) -> Plan:
    """How to train a question's trials with so many workers and slots, or with as many as memory has room for.

    trials: all that the question has, trained ones too: so a run that goes on trains as the one before did.
    """
    lines = [*_precision(definition)]
    if workers > (cores := os.cpu_count() or 1):
        lines.append(f"{workers} workers on {cores} cores: they will slow each other down")
    saved = 0.0 if any("compile" in fixed for fixed in definition.siblings().values()) else _saved(definition, trials, workers)
    if saved:
        minutes = f"{saved:.0f} minutes" if saved >= 1.5 else "a minute"
        lines.append(f"compile: on, it saves about {minutes} of this study (equal to rounding; compile: false in base turns it off)")
    workers = max(min(workers, trials), 1)
    workers, slots, short = _with_room(definition, workers, max(min(slots, -(-trials // workers)), 1))
    return Plan(workers, slots, bool(saved), (*lines, *short))


def _precision(definition: StudyDefinition) -> Iterator[str]:
    siblings = definition.siblings().values()
    if not any(fixed.get("precision") == "bf16" for fixed in siblings):
        return
    if fault := hardware.bf16_fault(_typical(definition).train.device):
        yield fault
    if not definition.confirms:
        yield "precision = bf16: winners are confirmed in fp32, since bf16 may rank otherwise near the edge of stability"


def _typical(definition: StudyDefinition) -> Config:
    return Config.of(next(iter(definition.siblings().values())))


def _on_cpu(config: Config) -> bool:
    return config.train.device in ("auto", "cpu") and not hardware.has_gpu()


# ------------------------------------------------------------------------------------------------------------- memory


def _with_room(definition: StudyDefinition, workers: int, slots: int) -> tuple[int, int, tuple[str, ...]]:
    """Workers and slots that fit into free memory, and why they are fewer."""
    largest = list(_largest(definition))
    if not _on_cpu(largest[0]):
        return workers, slots, ()
    free = memory.free()
    guess = max((memory.estimated(config) for config in largest), key=lambda footprint: footprint.of(slots))
    if workers * guess.of(slots) < NEAR * free:
        return workers, slots, ()
    footprint = memory.measured(largest, slots, hardware.choose().route)
    needed = workers * footprint.of(slots)
    if needed <= FULL * free:
        return workers, slots, ()
    fitting = _fitting(footprint, workers, slots, FULL * free)
    told = f"memory: {workers} x {slots} members need {_gigabytes(needed)}, and {_gigabytes(free)} are free"
    return *fitting, (f"{told}: training {fitting[0]} x {fitting[1]}",)


def _fitting(footprint: Footprint, workers: int, slots: int, room: float) -> tuple[int, int]:
    """As many workers as can have a slot, each with as many as fit; one of each if nothing does."""
    for count in range(workers, 0, -1):
        each = next((k for k in range(slots, 0, -1) if count * footprint.of(k) <= room), 0)
        if each:
            return count, each
    return 1, 1


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _largest(definition: StudyDefinition) -> Iterator[Config]:
    """Of each sibling, the configuration that takes most memory: the largest of everything that is searched and shared."""
    for fixed in definition.siblings().values():
        sizes: dict[str, Value] = {}
        for name, dimension in definition.dimensions(fixed).items():
            if all_specs()[name].declared.shared and name in ("n_layer", "n_embd", "block_size", "batch_size"):
                sizes[name] = max(dimension.values) if isinstance(dimension, Choices) else int(dimension.high)
        yield Config.of({**fixed, **sizes})


# ------------------------------------------------------------------------------------------------------------ compiling


def _saved(definition: StudyDefinition, trials: int, workers: int) -> float:
    """Minutes that compiling saves, by a cautious estimate; 0 where it would not pay at least twice for its own time."""
    config = _typical(definition)
    if not _on_cpu(config):
        return 0.0
    work = operations(config.model, VOCABULARY, config.train.batch_size)
    step = work / (BUSY * hardware.choose().gflops * 1e9)
    gain = SAVED * trials * definition.budget.horizon * step / workers
    cost = COMPILING * sum(_graphs(definition, fixed) for fixed in definition.siblings().values())
    return (gain - cost) / 60 if gain > 2 * cost else 0.0


def _graphs(definition: StudyDefinition, fixed: Mapping[str, Value]) -> int:
    """So many functions a sibling would have to compile, at most: one for each combination of what is no float."""
    specs, values = all_specs(), {**defaults(), **fixed}
    found = 1
    for name, dimension in definition.dimensions(fixed).items():
        spec = specs[name]
        own_path = spec.declared.shared or ("." in name and spec.annotation is not float)
        if own_path and spec.active(values):
            found *= len(dimension.values) if isinstance(dimension, Choices) else _levels(dimension)
    return found


def _levels(dimension: Range) -> int:
    return math.floor((dimension.high - dimension.low) / (dimension.step or 1) + 1e-9) + 1
