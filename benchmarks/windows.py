"""How far a difference of test losses depends on which windows they are measured on.

    python benchmarks/windows.py

Trainings of one environment, the first instances of `test`, each at three learning rates that stay. All windows of the
set's part of the test slice are looked at; so many of them, spread evenly as a test takes them, can be taken in several
ways, and the standard deviation over these ways is what windows alone do to the difference of two rates: on one
instance, and to the mean over instances, which all are measured on the same windows. Beside it stands how far the
difference scatters over instances. In percent of the loss; the margin of a tie is 1.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from report import table

from tunemax.envs.instances import find_set
from tunemax.envs.task import Task, task_of
from tunemax.envs.texts import TEST_SLICE, corpus_of
from tunemax.gpt.pool import Pool

RATES = (0.01, 0.015, 0.03)
SHORT: dict[str, Any] = {"horizon": 80, "frame_skip": 8, "config": {"block_size": 16, "batch_size": 4}}
TASKS: Mapping[str, tuple[Task, tuple[float, ...]]] = {
    "MixedWidths-v1, context 32": (task_of("MixedWidths-v1"), RATES),
    "the same as make rl has it, context 16": (task_of("MixedWidths-v1", **SHORT), RATES),
    "Tiny-v1, context 8": (task_of("Tiny-v1"), (0.03, 0.045, 0.1)),
}
COUNTS = (16, 32, 64, 128, 256, 512)

Losses = npt.NDArray[np.float64]


def losses_of(task: Task, rates: tuple[float, ...], count: int) -> Losses:
    """Of every window of the set's part: (rates, instances, windows)."""
    of, pool = find_set("test"), Pool(corpus_of)
    live = []
    for rate, index in itertools.product(rates, range(count)):
        drawn = of.draw(task, index)
        config = replace(drawn, controls={**drawn.controls, "learning_rate": rate}).config(task)
        live.append(pool.add(config))
    for trainer in {trainer for trainer, _ in live}:
        trainer.step(task.horizon)
    corpus = corpus_of(task.config.train)
    windows = corpus.windows(TEST_SLICE, task.config.model.block_size, 0, *of.measured)
    found = [np.concatenate([each[0] for each, _ in trainer.passes([member], windows)]) for trainer, member in live]
    return np.array(found).reshape(len(rates), count, -1)


def noise(difference: Losses, count: int) -> tuple[float, float]:
    """Of so many windows: of the difference (instances, windows) on an instance, and of its mean over instances."""
    there = difference.shape[1]
    first = np.arange(count) * there // count
    means = np.array([difference[:, first + shift].mean(axis=1) for shift in range(there // count)])
    return float(np.sqrt(means.var(axis=0).mean())), float(means.mean(axis=1).std())


def rows_of(name: str, losses: Losses, rates: tuple[float, ...]) -> list[list[str]]:
    rows = []
    for one, other in itertools.combinations(range(len(rates)), 2):
        difference, level = losses[other] - losses[one], losses[one].mean() / 100
        cells = [" / ".join(f"{each / level:.2f}" for each in noise(difference, count)) for count in COUNTS]
        apart, over = difference.mean() / level, difference.mean(axis=1).std(ddof=1) / level
        rows.append([f"{name}: {rates[other]:g} to {rates[one]:g}", f"{apart:+.1f}", f"{over:.1f}", *cells])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=16, help="of each environment (default 16)")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[list[Any]] = []
    for name, (task, rates) in list(TASKS.items())[-1 if arguments.quick else 0 :]:
        rows += rows_of(name, losses_of(task, rates, 2 if arguments.quick else arguments.instances), rates)
    heads = ["learning rates", "apart", "over instances", *(f"{count} windows" for count in COUNTS)]
    print(table("What windows alone do to a difference: on an instance / of the mean", heads, rows))


if __name__ == "__main__":
    main()
