"""How much memory a worker needs, measured before it is needed: a process like it trains a few members, then as many again.

What torch takes grows with every member by the same amount once a few are there; what a process takes for it besides, only a
measurement tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import psutil

from gpt import hardware
from gpt.config import Config
from gpt.errors import TunemaxError
from search.aside import aside

FEW = (2, 16)
"""Members at the first look, at least and at most: a quarter of what is asked for. There are twice as many at the second."""
STEPS = 4
"""Iterations before a look: freed memory is not taken again as it was, so the first two say too little."""
FLOATS = 40
"""Numbers that a training keeps for each token, layer and column, roughly."""
PROCESS = 700e6
"""Bytes of a worker without members, roughly."""
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Footprint:
    """Bytes that a worker process needs."""

    alone: float
    """Before the first member."""
    member: float
    """For each member more, to train it."""
    evaluation: float = 0.0
    """In all, when a few members are evaluated: for few of them that is more than training takes."""

    def of(self, slots: int) -> float:
        return max(self.alone + slots * self.member, self.evaluation)


def estimated(config: Config) -> Footprint:
    """A guess without a measurement, right within a factor of two: it says whether one is worth its seconds."""
    model, batch = config.model, config.train.batch_size
    tokens = model.block_size * batch
    attention = 6 * model.n_layer * model.n_head * model.block_size
    columns = FLOATS * model.n_layer * model.n_embd
    weights = 8 * (12 * model.n_layer * model.n_embd**2 + 512 * model.n_embd)
    return Footprint(PROCESS, 4.0 * (tokens * (attention + columns + 3 * 256) + weights))


def measured(configs: Sequence[Config], slots: int, route: hardware.Route) -> Footprint:
    """Of a worker that trains so many members of these configurations, by turns, on the CPU.

    Raises TunemaxError if even a part of them does not fit.
    """
    few = max(len(configs), min(max(slots // 4, FEW[0]), FEW[1]))
    seen = aside(_train, list(configs), few, route=route)
    if seen is None:
        raise TunemaxError(f"memory: not enough for {2 * few} members of a worker")
    first, second, evaluation = seen
    member = max((second - first) / few, 0.0)
    return Footprint(second - 2 * few * member, member, evaluation)


def free() -> float:
    """Bytes that new processes may take here: of the machine, or of the container if that allows less."""
    available = float(psutil.virtual_memory().available)
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = float((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return available
    return available if limit == "max" else min(available, float(limit) - used)


def _train(configs: list[Config], few: int) -> list[float]:
    """The most memory of a process after it has trained a few members, twice as many, and evaluated them."""
    from gpt.data import open_data
    from gpt.trainer import Trainer

    trainer = Trainer(configs[0], open_data(configs[0].train.dataset))
    seen = []
    for _ in range(2):
        for config in islice(cycle(configs), few):
            trainer.add(config)
        trainer.step(STEPS)
        seen.append(float(_most()))
    trainer.evaluate()
    trainer.step(STEPS)
    seen.append(float(_most()))
    return seen


def _most() -> int:
    """The most memory that this process has ever had resident, in bytes."""
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
