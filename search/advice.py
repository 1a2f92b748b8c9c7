"""What a run should be told before it begins: a precision that this processor lacks, a compiler that would pay for itself."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gpt import hardware
from gpt.config import Config, all_specs
from gpt.fields import Choices, Range, Value
from gpt.layout import operations
from search.definition import StudyDefinition
from search.dimension import defaults

VOCABULARY = 256
"""Of bytes: near enough for an estimate."""
COMPILING = 40.0
"""Seconds of a worker for one compiled function, of which a worker waits for the other's."""
SAVED = 0.15
"""The share of eager training that a compiled step saves, cautiously: 13 to 23 % in benchmarks/RESULTS.md."""
BUSY = 0.7
"""The share of a processor's matrix products a second that an eager step reaches: half for tiny models, more for others."""


def advice(definition: StudyDefinition, waiting: int, workers: int) -> list[str]:
    """Lines for the user, none if all is as it should be. waiting: trials still to come."""
    siblings = definition.siblings().values()
    first = Config.of(next(iter(siblings)))
    lines = []
    if any(fixed.get("precision") == "bf16" for fixed in siblings):
        if fault := hardware.bf16_fault(first.train.device):
            lines.append(fault)
        if not definition.confirms:
            lines.append("precision = bf16: winners are confirmed in fp32, since bf16 may rank otherwise near the edge of stability")
    if not any(fixed.get("compile") for fixed in siblings) and (saved := _saved(definition, waiting, workers)):
        lines.append(f"compile: true in base would save about {saved:.0f} minutes of this study (equal to rounding)")
    return lines


def _saved(definition: StudyDefinition, waiting: int, workers: int) -> float:
    """Minutes that compiling would save, by a cautious estimate; 0 where it would not pay at least twice for its own time."""
    siblings = definition.siblings().values()
    config = Config.of(next(iter(siblings)))
    if config.train.device not in ("auto", "cpu") or hardware.has_gpu():
        return 0.0
    work = operations(config.model, VOCABULARY, config.train.batch_size)
    step = work / (BUSY * hardware.choose().gflops * 1e9)
    gain = SAVED * waiting * definition.budget.horizon * step / workers
    cost = COMPILING * sum(_graphs(definition, fixed) for fixed in siblings)
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
