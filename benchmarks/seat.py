"""A process of its own in which contenders train when they are told to: as a worker of a study trains, or as a plain
loop."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

from tunemax.gpt import hardware, matmul

CHUNK = 10
"""Iterations a call, as a worker makes them."""
SIDE = 1024
"""Of the square matrices whose products are the roofline."""


class Trains(Protocol):
    def step(self, n: int = 1) -> None: ...


@dataclass(frozen=True)
class Way:
    """One way to train. stack 0: the plain loop, with PyTorch as it comes."""

    variant: str
    stack: int
    compiled: bool
    precision: str

    @property
    def members(self) -> int:
        return max(self.stack, 1)


class Roofline:
    """Products of large matrices instead of a training; an iteration is one product."""

    def __init__(self, precision: str) -> None:
        import torch

        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.a, self.b = (
            torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).to(dtype) for seed in (1, 2)
        )

    def step(self, n: int = 1) -> None:
        for _ in range(n):
            self.a @ self.b


@dataclass(frozen=True)
class Answer:
    seconds: float
    processor: float
    """Seconds of the processor, those of the system for this process included: what others do meanwhile hardly shows in
    them."""
    path: str
    """That the arithmetic took."""


class Seat:
    """The handle of such a process. worker: with the settings of a worker process, or with none."""

    def __init__(self, number: int, shape: dict[str, Any], dataset: str, worker: bool) -> None:
        self.worker = worker
        context = multiprocessing.get_context("spawn")
        self._link, theirs = context.Pipe()
        self._process = context.Process(target=_sit, args=(theirs, number, shape, dataset, worker), daemon=True)
        with hardware.large_pages() if worker else nullcontext():
            self._process.start()

    def ask(self, way: Way, iterations: int) -> None:
        """Have it train so many iterations; `answer` waits for the end."""
        self._link.send((way, iterations))

    def answer(self) -> Answer:
        answered: Answer = self._link.recv()
        return answered

    def end(self) -> None:
        self._link.send(None)
        self._process.join()


def together(seats: Sequence[Seat], way: Way, iterations: int) -> Answer:
    """What the slowest of some processes needs for so many iterations."""
    for seat in seats:
        seat.ask(way, iterations)
    return max([seat.answer() for seat in seats], key=lambda answer: answer.seconds)


def _sit(link: Connection, number: int, shape: dict[str, Any], dataset: str, worker: bool) -> None:
    import torch

    from tunemax.gpt.data import open_data

    torch.set_num_threads(1)
    if worker:
        hardware.keep_memory()
        matmul.take(matmul.choose().route)
    corpus, known = open_data(dataset), {}
    while (asked := link.recv()) is not None:
        way, iterations = asked
        if way not in known:
            known[way] = _contender(way, number, shape, dataset, corpus)
        start, worked = time.perf_counter(), time.process_time()
        for done in range(0, iterations, CHUNK):
            known[way].step(min(CHUNK, iterations - done))
        wall, cpu = time.perf_counter() - start, time.process_time() - worked
        link.send(Answer(wall, cpu, getattr(known[way], "arithmetic", "")))


def _contender(way: Way, number: int, shape: dict[str, Any], dataset: str, corpus: Any) -> Trains:
    from plain import PlainLoop

    from tunemax.gpt.config import Config
    from tunemax.gpt.trainer import Trainer

    if way.variant == "roofline":
        return Roofline(way.precision)
    fields = {
        **shape,
        "dataset": dataset,
        "softmax_variant": way.variant,
        "max_iters": 10**6,
        "device": "cpu",
        "precision": way.precision,
    }
    configs = [
        Config.of({**fields, "compile": way.compiled, "seed": 100 * number + seed}) for seed in range(way.members)
    ]
    if way.stack == 0:
        return PlainLoop(configs[0], corpus)
    trainer = Trainer(configs[0], corpus)
    for config in configs:
        trainer.add(config)
    return trainer
