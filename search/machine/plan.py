"""How a run will train: with how many members at once, compiled or not; and what its user should know before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import fmean
from typing import Any

from tunemax.gpt import hardware, matmul
from tunemax.gpt.compile.library import compiler_fault, without
from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.cost import Cost
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Choices, Range, Value
from tunemax.search.machine import calibration, memory, precision
from tunemax.search.machine.calibration import Shares
from tunemax.search.machine.limits import cores, free
from tunemax.search.machine.memory import Footprint
from tunemax.search.machine.processes import WorkerSettings
from tunemax.search.question.budget import VOCABULARY
from tunemax.search.question.counting import counted
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import extremes

COMPILING = 60.0
"""Seconds for the two functions of a variant, an iteration and an evaluation, while other workers wait."""
SAVED, NARROW = 0.35, 32
"""The share of eager training that is saved up to this width; wider, less in proportion (benchmarks/RESULTS.md)."""
BUSY = 0.7
"""The share of a processor's matrix products a second that an eager step reaches; less for tiny models."""
WORKERS = 2
"""At most, where neither the user nor the study says anything, and this machine was not calibrated."""
SLOTS = ((2e8, 8), (2e9, 4))
"""The same of slots on a CPU: up to so many operations of one member's iteration so many, above them FEWEST. To stack
more gains nothing (benchmarks/RESULTS.md), takes memory, and lets the sampler know less."""
FEWEST = 2
MOST = 8
"""Slots on a GPU, which a small model leaves idle."""
FULL = 0.85
"""The share of free memory that workers may take."""
NEAR = 0.5
"""The share of free memory below which a guess is enough, and nothing is measured."""
SIZES = ("n_layer", "n_embd", "block_size", "batch_size")
"""What memory and the size of products depend on."""


def plan(
    definition: StudyDefinition,
    trials: int,
    workers: int | None = None,
    slots: int | None = None,
    *,
    begun: bool = False,
) -> WorkerSettings:
    """How to train a question's trials, as far as memory has room for it.

    workers, slots: as asked for; else the study's own, else what this machine was calibrated to. trials: all that the
    question has, trained ones too: so a run that goes on trains as the one before did. begun: one of them has ended.
    """
    shares = _shares(_costliest(definition))
    asked = workers or definition.workers
    threads = shares.threads if asked is None else 1
    workers, slots = asked or shares.workers, slots or definition.slots or shares.slots
    lines = list(_precision(definition, begun))
    if workers > (usable := cores()):
        lines.append(f"{counted(workers, 'worker')} on {counted(usable, 'core')}: they will slow each other down")
    compiled, remarks = _compiled(definition, trials, workers)
    lines += remarks
    workers = max(min(workers, trials), 1)
    workers, slots, short = _with_room(definition, workers, max(min(slots, -(-trials // workers)), 1), compiled)
    return WorkerSettings(workers, threads, slots, compiled, (*lines, *short), _route(definition))


def _shares(config: Config) -> Shares:
    """How to train where nobody says so: as this machine was calibrated to, else with one thread a process."""
    workers = min(WORKERS, cores())
    if not _on_cpu(config):
        return Shares(workers, threads=1, slots=MOST)
    work = Cost.of(config, VOCABULARY).flops
    usual = Shares(workers, threads=1, slots=next((slots for most, slots in SLOTS if work <= most), FEWEST))
    return calibration.remembered(config) or usual


def _precision(definition: StudyDefinition, begun: bool) -> Iterator[str]:
    siblings = definition.siblings().values()
    if not any(fixed.get("precision") == "bf16" for fixed in siblings):
        return
    if fault := matmul.bf16_fault(_costliest(definition).train.device):
        yield fault
    if not definition.confirms:
        if not begun and (warning := precision.turned(definition, _route(definition))):
            yield warning
        reason = "since bf16 may rank otherwise near the edge of stability"
        yield f"precision = bf16: winners are confirmed in fp32, {reason}"


def _configs(definition: StudyDefinition) -> list[Config]:
    """Of each sibling, before anything is chosen."""
    return [Config.of(fixed) for fixed in definition.siblings().values()]


def _costliest(definition: StudyDefinition) -> Config:
    return max(_configs(definition), key=lambda config: Cost.of(config, VOCABULARY).flops)


def _on_cpu(config: Config) -> bool:
    return config.train.device == "cpu" or (config.train.device == "auto" and not hardware.has_gpu())


# ------------------------------------------------------------------------------------------------------------- memory


def _with_room(
    definition: StudyDefinition, workers: int, slots: int, compiled: bool | None
) -> tuple[int, int, tuple[str, ...]]:
    """Workers and slots that fit into free memory, and why they are fewer."""
    largest = list(_sized(definition, max))
    if not _on_cpu(largest[0]):
        return workers, slots, ()
    room = free()
    compiles = any(config.train.compile for config in largest) if compiled is None else compiled
    guess = max((memory.estimated(config) for config in largest), key=lambda footprint: footprint.of(slots))
    guess = guess.compiling() if compiles else guess
    if workers * guess.of(slots) < NEAR * room:
        return workers, slots, ()
    try:
        footprint = memory.measured(largest, slots, _route(definition))
        footprint = footprint.compiling() if compiles else footprint
    except TunemaxError as error:  # not even those of one worker fit
        count, each = _fitting(guess, workers, max(slots // 4, 1), FULL * room)
        return count, each, (f"{error}: training {count} x {each}",)
    needed = workers * footprint.of(slots)
    if needed <= FULL * room:
        return workers, slots, ()
    count, each = _fitting(footprint, workers, slots, FULL * room)
    shortage = f"memory: {workers} x {slots} members need {needed / 1e9:.1f} GB, and {room / 1e9:.1f} GB are free"
    return count, each, (f"{shortage}: training {count} x {each}",)


def _fitting(footprint: Footprint, workers: int, slots: int, room: float) -> tuple[int, int]:
    """As many workers as can have a slot, each with as many as fit; one of each if nothing does."""
    for count in range(workers, 0, -1):
        each = next((k for k in range(slots, 0, -1) if count * footprint.of(k) <= room), 0)
        if each:
            return count, each
    return 1, 1


def _route(definition: StudyDefinition) -> matmul.Route:
    """The one that suits the smallest models of a question."""
    routes = {matmul.route_for(config) for config in _sized(definition, min)}
    return routes.pop() if len(routes) == 1 else "default"


def _sized(definition: StudyDefinition, extreme: Callable[[Iterable[Any]], Any]) -> Iterator[Config]:
    """Of each sibling, the configuration with the largest, or the smallest, of every size that is searched."""
    for fixed in definition.siblings().values():
        searched = {name: dim for name, dim in definition.dimensions(fixed).items() if name in SIZES}
        sizes = {name: extreme(extremes(all_specs()[name], dim)) for name, dim in searched.items()}
        try:
            yield Config.of({**fixed, **sizes})
        except TunemaxError:  # these do not go together, as a width with other heads
            yield Config.of(fixed)


# ------------------------------------------------------------------------------------------------------------ compiling


def _compiled(definition: StudyDefinition, trials: int, workers: int) -> tuple[bool | None, tuple[str, ...]]:
    """Whether to compile, if that is not left to each trial, and what the user should know of it."""
    asked = [fixed["compile"] for fixed in definition.siblings().values() if "compile" in fixed]
    saved = 0.0 if asked else _saved(definition, trials, workers)
    if (saved or any(asked)) and (fault := compiler_fault()):
        return False, (without(fault),)  # here, and not by each worker
    if not saved:
        return None, ()
    minutes = f"{saved:.0f} minutes" if saved >= 1.5 else "a minute"
    remark = f"it saves about {minutes} of this study (equal to rounding; compile: false in base turns it off)"
    return True, (f"compile: on, {remark}",)


def _saved(definition: StudyDefinition, trials: int, workers: int) -> float:
    """Minutes that compiling saves, by a cautious estimate; 0 where it does not pay twice for its own time."""
    configs = _configs(definition)
    if not _on_cpu(configs[0]) or definition.budget.seconds is not None:  # a trial then takes its time in any case
        return 0.0
    speed = BUSY * matmul.choose().gflops * 1e9

    def of_a_trial(config: Config) -> float:
        step = Cost.of(config, VOCABULARY).flops / speed
        saved = SAVED * min(NARROW / config.model.n_embd, 1.0)
        return saved * definition.budget.iterations(config, VOCABULARY) * step

    gain = fmean(map(of_a_trial, configs)) * trials / workers
    cost = COMPILING * sum(_graphs(definition, fixed) for fixed in definition.siblings().values())
    return (gain - cost) / 60 if gain > 2 * cost else 0.0


def _graphs(definition: StudyDefinition, fixed: Mapping[str, Value]) -> int:
    """Functions that a sibling may have to compile: one a combination of what is no float, with dropout or without."""
    specs, values = all_specs(), definition.begin(fixed)
    graphs = 2 if "dropout" in definition.dimensions(fixed) else 1
    for name, dimension in definition.dimensions(fixed).items():
        spec = specs[name]
        own_path = spec.declared.shared or ("." in name and spec.annotation is not float)
        if own_path and spec.active(values):
            graphs *= len(dimension.values) if isinstance(dimension, Choices) else _levels(dimension)
    return graphs


def _levels(dimension: Range) -> int:
    return math.floor((dimension.high - dimension.low) / (dimension.step or 1) + 1e-9) + 1
