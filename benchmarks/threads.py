"""How many threads does one training by itself want, by its size? One member in this process, eager, on the CPU.

    python benchmarks/threads.py

Numbers of threads take turns; shown is the median of the turns.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from report import table

from tunemax.gpt import hardware, matmul
from tunemax.gpt.config import Config
from tunemax.gpt.cost import Cost
from tunemax.gpt.data import open_data
from tunemax.gpt.trainer import Trainer
from tunemax.search.machine.alone import threads
from tunemax.search.machine.limits import cores
from tunemax.search.question.budget import VOCABULARY

SIZES = ((2, 32, 2, 32, 8), (4, 64, 4, 64, 12), (4, 128, 4, 64, 12), (4, 128, 4, 128, 16), (6, 192, 6, 128, 16))
"""Layers, width, heads, context, batch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="python_stdlib")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()

    hardware.keep_memory()
    counts, rows = range(1, cores() + 1), []
    for n_layer, n_embd, n_head, block_size, batch_size in SIZES:
        sizes = {"n_layer": n_layer, "n_embd": n_embd, "n_head": n_head, "block_size": block_size}
        config = Config.of({**sizes, "batch_size": batch_size, "dataset": arguments.data, "device": "cpu"})
        matmul.take(matmul.route_for(config))
        turns = [[milliseconds(config, count, arguments.seconds) for count in counts] for _ in range(arguments.turns)]
        shape = f"{n_layer} x {n_embd}, T {block_size}, B {batch_size}"
        cells = [f"{median(column):.1f}" for column in zip(*turns, strict=True)]
        rows.append([shape, f"{Cost.of(config, VOCABULARY).flops:.1e}", *cells, str(threads(config))])
    heads = ["model", "operations", *(f"{count} thread(s), ms" for count in counts), "taken"]
    print(table("An iteration of one training", heads, rows))


def milliseconds(config: Config, count: int, seconds: float) -> float:
    """Of an iteration with so many threads."""
    torch.set_num_threads(count)
    trainer = Trainer(config, open_data(config.train.dataset))
    trainer.add(config)
    trainer.step(3)
    begun, iterations = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        trainer.step(2)
        iterations += 2
    return 1e3 * (time.perf_counter() - begun) / iterations


if __name__ == "__main__":
    main()
