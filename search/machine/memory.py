"""How much memory a worker needs, measured before it is needed: processes like it train and evaluate a few members.

What torch takes grows with every member by the same amount once a few are there; what else a process takes, only a
measurement tells. An evaluation is another matter: it takes a few members at a time, with more windows than a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunemax.gpt import matmul
from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.evaluation import SPAN
from tunemax.search.machine.processes import aside
from tunemax.search.question.counting import counted

if TYPE_CHECKING:
    from tunemax.gpt.trainer import Trainer

MOST = 16
"""Members in a measurement: what more of them need is told from these, and from half of them."""
TOGETHER = 8
"""Members that a trainer evaluates at once, at most (`EVAL_MEMBERS`, without loading torch)."""
TOKENS = 2048
"""Tokens that it evaluates at once, of each (`EVAL_TOKENS`)."""
WINDOWS = 60
"""Of an evaluation, at most: those of a whole forward pass, and of a smaller one, after which memory lies in pieces."""
SPANS = 60
"""The same of an evaluation of fixed targets."""
BUCKETS = 3
"""Shapes in a measurement, at most: those for which the guess is highest."""
STEPS = 4
"""Iterations before a look: freed memory is not taken again as it was, so the first two say too little."""
FLOATS = 40
"""Numbers that a training keeps for each token, layer and column, roughly."""
BESIDE_MOMENTS = 5
"""The same of each parameter: itself, its gradient, and what comes and goes; not what its optimizer needs."""
PROCESS = 700e6
"""Bytes of a worker without members, roughly."""
BESIDE = 20e6
"""Bytes that a worker takes besides training, for the storage, figures and files of its trials."""
COMPILER = 570e6
"""Bytes that a worker takes more if it compiles: 160 MB itself, which it keeps, and up to 410 MB a g++ beside it
(measured at 2 layers x 32 and 4 x 64)."""


@dataclass(frozen=True)
class Footprint:
    """Bytes that a worker process needs."""

    alone: float
    """Before the first member."""
    member: float
    """For each member more, to train it."""
    row: float = 0.0
    """Of that, what it also has while others are evaluated: its weights and moments, twice where one of them leaves."""
    evaluation: float = 0.0
    """For each member more that is evaluated together with others."""

    def of(self, slots: int) -> float:
        return self.alone + max(slots * self.member, slots * self.row + min(slots, TOGETHER) * self.evaluation)

    def compiling(self) -> Footprint:
        """Of a worker that may compile."""
        return replace(self, alone=self.alone + COMPILER)


def estimated(config: Config) -> Footprint:
    """A guess without a measurement, right within a factor of two: it says whether one is worth its seconds."""
    model, batch = config.model, config.train.batch_size
    tokens = model.block_size * batch
    softmaxes = sum(config.attention.softmaxes(model) or [1] * model.n_head)
    attention = 6 * model.n_layer * softmaxes * model.block_size
    columns = FLOATS * model.n_layer * model.n_embd
    kept = BESIDE_MOMENTS + len(config.optimizer.moments) + config.optimizer.scratch
    weights = kept * (12 * model.n_layer * model.n_embd**2 + 512 * model.n_embd)
    judged = max(TOKENS, model.block_size) * (4 * softmaxes * model.block_size + 8 * model.n_embd + 3 * 256)
    return Footprint(PROCESS, 4.0 * (tokens * (attention + columns + 3 * 256) + weights), evaluation=4.0 * judged)


def measured(configs: Sequence[Config], slots: int, route: matmul.Route) -> Footprint:
    """Of a worker that trains so many members of these configurations, and never more, eagerly, on the CPU.

    All of them may be of the bucket that needs most: each trains by itself, and the largest counts. Raises TunemaxError
    if even a part of them does not fit.
    """
    buckets = _largest(configs, slots)
    few = min(slots, MOST)
    half, judged = max(few // 2, 1), min(few, TOGETHER)
    trained = aside(_trained, buckets, [half, few], route=route)
    evaluated = trained and aside(_evaluated, buckets, judged, route=route)
    if trained is None or evaluated is None:
        raise TunemaxError(f"memory: not enough for {counted(few, 'member')} of a worker")
    (first, second), (most, row) = trained, evaluated
    member = max(second - first, 0.0) / max(few - half, 1)
    alone = second - few * member
    evaluation = max(most - alone - judged * row, 0.0) / judged
    return Footprint(alone + BESIDE, member, row, evaluation)


def _largest(configs: Sequence[Config], slots: int) -> list[list[Config]]:
    """The configurations of those buckets that may need most with so many members, by bucket."""
    buckets: dict[tuple[tuple[str, Any], ...], list[Config]] = {}
    for config in configs:
        buckets.setdefault(config.bucket, []).append(config)
    return nlargest(BUCKETS, buckets.values(), key=lambda alike: estimated(alike[0]).of(slots))


def _trained(buckets: list[list[Config]], counts: list[int]) -> list[float]:
    """The most memory of this process after it has trained each of these numbers of members."""
    seen = []
    for count in counts:
        for group in _turns(buckets, count):
            trainer = _stacked(group)
            trainer.step(STEPS)
            trainer.remove(trainer.members[0])
        seen.append(_most())
    return seen


def _evaluated(buckets: list[list[Config]], count: int) -> tuple[float, float]:
    """The most memory of this process after it has trained and evaluated so many members, and `Footprint.row`."""
    row = 0
    for group in _turns(buckets, count):
        trainer = _stacked(group)
        row = max(row, 2 * (1 + len(group[0].optimizer.moments)) * 4 * trainer.layout.size)
        for _ in range(2):  # the second time it finds the memory in pieces
            trainer.step(STEPS // 2)
            trainer.evaluate()
        trainer.remove(trainer.members[0])
    return _most(), float(row)


def _turns(buckets: Sequence[Sequence[Config]], count: int) -> Iterator[list[Config]]:
    """So many configurations of a bucket at a time, until each has had its turn, since one variant may need more than
    another."""
    for alike in buckets:
        for start in range(0, len(alike), count):
            yield list(islice(cycle(alike), start, start + count))


def _stacked(configs: Sequence[Config]) -> Trainer:
    """The trainer that a worker would have for these members of one bucket, but for a short evaluation."""
    from tunemax.gpt.data import open_data
    from tunemax.gpt.trainer import Trainer

    short = [_shortened(config) for config in configs]
    trainer = Trainer(short[0], open_data(short[0].train))
    for config in short:
        trainer.add(config)
    return trainer


def _shortened(config: Config) -> Config:
    train = config.train
    enough, spans = max(WINDOWS // train.batch_size, 1), SPAN * SPANS
    short = {
        "windows": {"eval_iters": min(train.eval_iters or enough, enough)},
        "tokens": {"eval_tokens": min(train.eval_tokens or spans, spans)},
    }
    return config.replace({**short[train.eval_by], "compile": False, "max_iters": 1})  # each look is the last


def _most() -> float:
    """The most memory that this process has ever had resident, in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024.0 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    except OSError:
        import resource  # on Linux it would tell of the program, too, that has started this one

        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
