"""Steps a second of N environments as one batched model, beside stable-baselines3's own vectors of single ones.

    python benchmarks/envs.py --size tiny     # a minute on two idle cores
    python benchmarks/envs.py --size small    # three
    python benchmarks/envs.py --quick         # seconds: only to see that it works

Prints Markdown. The batched environment runs once with one thread and once with one for each core; SubprocVecEnv has a
process, of one thread, for each environment, and so uses every core, too. For each N all contenders take turns in every
round. A second table has the CPU time of a step of the batched environment: of training, of looks at the loss, and of
all that is beside them, such as controls and observations; the least of the rounds, of one episode each.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

# This file is called like the package that it measures, which must be found first
sys.path.insert(0, str(Path(__file__).parents[1]))

import gymnasium
import numpy as np
import torch
from report import environment, spread, table
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

import tunemax.envs  # noqa: F401 - registers the ids
from tunemax.envs.sb3 import SteerVecEnv
from tunemax.gpt.trainer import Trainer
from tunemax.search.machine.limits import cores

SIZES = {"tiny": "tunemax/Tiny-v1", "small": "tunemax/Constantmax-v1"}
COUNTS = (1, 4, 16, 64)


@dataclass
class Contender:
    """One way to step N environments, and what each round found."""

    name: str
    threads: int
    make: Callable[[], VecEnv]
    steps: int = 1
    """Of the vector, a round."""
    rates: list[float] = field(default_factory=list)
    """Environment steps a second."""

    def open(self, seconds: float) -> None:
        """Start, warm up, and find how many steps take that long."""
        torch.set_num_threads(self.threads)
        self.env = self.make()
        self.env.seed(1)
        self.env.reset()
        self.draw = np.random.default_rng(1)
        self._timed(1)
        self.steps = max(1, round(seconds / self._timed(1)))

    def run_round(self) -> None:
        self.rates.append(self.env.num_envs * self.steps / self._timed(self.steps))

    def _timed(self, steps: int) -> float:
        torch.set_num_threads(self.threads)
        low, high = self.env.action_space.low, self.env.action_space.high  # type: ignore[attr-defined]
        start = time.perf_counter()
        for _ in range(steps):
            self.env.step(self.draw.uniform(low, high, (self.env.num_envs, len(low))).astype(np.float32))
        return time.perf_counter() - start


def contenders(id: str, count: int, threads: int) -> list[Contender]:
    def single() -> gymnasium.Env[Any, Any]:
        torch.set_num_threads(1)
        return gymnasium.make(id)

    def batched() -> VecEnv:
        return SteerVecEnv(gymnasium.make_vec(id, num_envs=count))

    return [
        Contender("SubprocVecEnv", 1, lambda: SubprocVecEnv([single] * count, start_method="fork")),
        Contender("DummyVecEnv", 1, lambda: DummyVecEnv([single] * count)),
        Contender("batched, 1 thread", 1, batched),
        *([Contender(f"batched, {threads} threads", threads, batched)] if threads > 1 else []),
    ]


def measure(id: str, count: int, rounds: int, seconds: float, threads: int) -> list[Contender]:
    found = contenders(id, count, threads)
    for contender in found:  # processes are forked first, before there are threads
        contender.open(seconds)
    for _ in range(rounds):
        for contender in found:
            contender.run_round()
    for contender in found:
        contender.env.close()
    return found


def parts(id: str, count: int, rounds: int) -> list[float]:
    """CPU time of a step of N environments in one process, in ms: training, looks, and what is beside them."""
    spent = {"step": 0.0, "passes": 0.0}

    def timed(name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*given: Any, **named: Any) -> Any:
            start = time.process_time()
            result = whole(*given, **named)
            result = iter(list(result)) if name == "passes" else result
            spent[name] += time.process_time() - start
            return result

        return measured

    torch.set_num_threads(1)
    many = gymnasium.make_vec(id, num_envs=count)
    assert many.spec is not None
    steps = (many.spec.max_episode_steps or 2) - 1
    found = []
    with contextlib.ExitStack() as patched:
        for name in spent:
            patched.enter_context(mock.patch.object(Trainer, name, timed(name, getattr(Trainer, name))))
        for _ in range(rounds):
            many.reset(seed=1)
            spent.update(step=0.0, passes=0.0)
            start = time.process_time()
            for _ in range(steps):
                many.step(many.action_space.sample())
            whole = time.process_time() - start
            found.append([1e3 * each / steps for each in (*spent.values(), whole - sum(spent.values()))])
    return [min(column) for column in zip(*found, strict=True)]


def show_parts(size: str, results: dict[int, list[float]]) -> str:
    rows = [
        [str(count), *(f"{part:.1f}" for part in found), f"{100 * found[-1] / sum(found):.0f} %"]
        for count, found in results.items()
    ]
    return table(f"{size}: CPU time of a step, ms", ["N", "training", "looks", "beside them", "share of that"], rows)


def show(size: str, results: dict[int, list[Contender]]) -> str:
    """Ratios are taken within each round, then their median: the round's luck cancels out."""
    rows = []
    for count, found in results.items():
        subproc = found[0].rates
        for contender in found:
            ratio = [rate / other for rate, other in zip(contender.rates, subproc, strict=True)]
            digits = 0 if median(contender.rates) >= 100 else 1
            rows.append([contender.name, str(count), spread(contender.rates, digits), spread(ratio, 2)])
    return table(f"{size}: {SIZES[size]}", ["", "N", "env steps/s (min-max)", "to SubprocVecEnv (min-max)"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, action="append", help="which environments; all if not given")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="numbers of environments")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds",
        type=float,
        default=1.0,
        help="of each contender in each round, at least one step of all its environments",
    )
    parser.add_argument(
        "--threads", type=int, default=cores(), help="of the batched environment that has more than one"
    )
    parser.add_argument("--quick", action="store_true", help="few environments, one short round; figures mean nothing")
    args = parser.parse_args(arguments)
    if args.quick:
        args.counts, args.rounds, args.seconds, args.threads = (1, 4), 1, 0.01, 1
    torch.set_num_threads(1)
    print(*environment(), "", sep="\n", flush=True)
    for size in args.size or SIZES:
        results = {count: measure(SIZES[size], count, args.rounds, args.seconds, args.threads) for count in args.counts}
        print(show(size, results), flush=True)
        print(show_parts(size, {count: parts(SIZES[size], count, args.rounds) for count in args.counts}), flush=True)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
