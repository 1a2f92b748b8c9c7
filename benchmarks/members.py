"""Steps a second of K stacked members, beside a plain loop that trains one model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from plain import PlainLoop
from report import spread, table

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.trainer import Trainer
from tunemax.search.workers.trial import CHUNK

MIXED = ("softmax", "constantmax", "polymax", "strongermax", "softermax", "sigsoftmax", "sigsoftmax_base2")
"""The variants of mixed stacks, those that figures of before are of."""

SHAPES: dict[str, dict[str, Any]] = {
    "S0": {"n_layer": 2, "n_embd": 32, "n_head": 4, "block_size": 32, "batch_size": 8},
    "S1": {"n_layer": 4, "n_embd": 64, "n_head": 4, "block_size": 64, "batch_size": 12},
    "S2": {"n_layer": 4, "n_embd": 128, "n_head": 4, "block_size": 64, "batch_size": 12},
}
STACKS = (1, 2, 4, 8, 16, 32)
PLAIN, ALONE = "plain PyTorch loop", "softmax K=1"


class Trains(Protocol):
    def step(self, n: int = 1) -> None: ...


@dataclass
class Contender:
    """One way to train, with its members and what each round found."""

    name: str
    members: int
    trains: Trains
    iterations: int = 1
    """How many fill the time that a round gives it."""
    rates: list[float] = field(default_factory=list)
    """Member-steps a second, round by round."""

    def calibrate(self, seconds: float) -> None:
        """Warm up, then find how many iterations take that long: every round does the same work."""
        self._timed(1)
        one = self._timed(1)
        if one < 0.1 * seconds:  # too short a time to rely on
            some = round(0.1 * seconds / one)
            one = self._timed(some) / some
        self.iterations = max(1, round(seconds / one))

    def run_round(self) -> None:
        self.rates.append(self.members * self.iterations / self._timed(self.iterations))

    def _timed(self, iterations: int) -> float:
        """Seconds that some iterations take, in calls as long as a worker's."""
        start = time.perf_counter()
        for done in range(0, iterations, CHUNK):
            self.trains.step(min(CHUNK, iterations - done))
        return time.perf_counter() - start


def measure(
    corpus: Corpus, dataset: str, shape: str, stacks: Sequence[int], mixed: bool, rounds: int, seconds: float
) -> list[Contender]:
    """Every contender at one shape, by turns in each round, so that a slow minute of the machine slows all of them
    alike."""
    contenders = _contenders(corpus, dataset, SHAPES[shape], stacks, mixed)
    for contender in contenders:
        contender.calibrate(seconds)
    for _ in range(rounds):
        for contender in contenders:
            contender.run_round()
    return contenders


def describe(name: str, shape: dict[str, Any]) -> str:
    sizes = (
        f"{shape['n_layer']} layers x {shape['n_embd']}, {shape['n_head']} heads, T {shape['block_size']}, B "
        f"{shape['batch_size']}"
    )
    return f"{name}: {sizes}"


def show(shape: str, contenders: Sequence[Contender]) -> str:
    """The table of one shape. Ratios are taken within each round, then their median: the round's luck cancels out."""
    title = describe(shape, SHAPES[shape])
    plain, alone = (next(c.rates for c in contenders if c.name == name) for name in (PLAIN, ALONE))
    rows = [
        [
            c.name,
            f"{median(c.rates) / c.members:.4g}",
            spread(c.rates, 0 if median(c.rates) >= 100 else 1),
            spread([rate / other for rate, other in zip(c.rates, plain, strict=True)], 2),
            f"{median(rate / other for rate, other in zip(c.rates, alone, strict=True)):.2f}",
        ]
        for c in contenders
    ]
    return table(title, ["", "steps/s", "member-steps/s (min-max)", "to plain (min-max)", "to K=1"], rows)


def _contenders(
    corpus: Corpus, dataset: str, shape: dict[str, Any], stacks: Sequence[int], mixed: bool
) -> list[Contender]:
    def config(variant: str, seed: int) -> Config:
        return Config.of(
            {**shape, "dataset": dataset, "softmax_variant": variant, "seed": seed, "max_iters": 10**6, "device": "cpu"}
        )

    def stacked(name: str, names: Sequence[str]) -> Contender:
        configs = [config(variant, seed) for seed, variant in enumerate(names, start=1)]
        trainer = Trainer(configs[0], corpus)
        for own in configs:
            trainer.add(own)
        return Contender(name, len(configs), trainer)

    found = [Contender(PLAIN, 1, PlainLoop(config("softmax", 1), corpus))]
    found += [stacked(f"softmax K={k}", ["softmax"] * k) for k in stacks]
    if mixed:
        wide = [k for k in stacks if k >= len(MIXED)]
        found += [stacked(f"{len(MIXED)} variants K={k}", [MIXED[i % len(MIXED)] for i in range(k)]) for k in wide]
    return found
