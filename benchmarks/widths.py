"""Where does the best learning rate lie as a model gets wider, with muP and with the standard parametrisation?

    python benchmarks/widths.py --data tinyshakespeare.txt                      # an hour or so
    python benchmarks/widths.py --data tinyshakespeare.txt --widths 32 64 128   # minutes
    python benchmarks/widths.py --data tinyshakespeare.txt --optimizer muon

Models of two layers, with heads of one width, of which there are more in wider models. Each width is trained at every
rate of a grid of factors of two, with every seed; all members of a width are stacked. The best rate of a seed is that
of the parabola through the lowest loss of the grid and its neighbours, over the logarithm of the rate; at an end of the
grid it is that end, and a `+` says so. Intervals are Student's, of 95 %, over seeds.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from report import environment, table

from tunemax.gpt.config import Config
from tunemax.gpt.data import open_data
from tunemax.gpt.trainer import Trainer
from tunemax.search.results.statistics import Estimate, estimate

HEAD = 16
"""Width of a head."""
SHAPE = {"n_layer": 2, "block_size": 32, "batch_size": 8}
TOKENS = 32768
TOGETHER = 12
"""Members of a trainer."""

Losses = np.ndarray[Any, Any]
"""(rates, seeds), in nats a token; infinite of what has diverged."""


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    print(*environment(), sep="\n", flush=True)
    powers = range(args.lowest, args.highest + 1)
    for parametrisation in ("mup", "standard"):
        rows, places = [], []
        for width in args.widths:
            start = time.perf_counter()
            losses = trained(_config(width, parametrisation, args), [2.0**power for power in powers], args.seeds)
            best = [best_rate(losses[:, seed]) for seed in range(args.seeds)]
            places.append([args.lowest + place for place in best])
            at_an_end = "+" if {0.0, len(powers) - 1.0} & set(best) else ""
            means = [f"{loss:.3f}" for loss in losses.mean(1)]
            took = f"{time.perf_counter() - start:.0f}"
            rows.append([str(width), *means, _written(estimate(places[-1])) + at_an_end, took])
        title = f"{parametrisation}, {args.optimizer}: mean loss of {args.seeds} seeds after {args.steps} iterations"
        header = ["width", *(f"2^{power}" for power in powers), "log₂ of the best rate", "seconds"]
        print(f"\n{table(title, header, rows)}\n{_slope(args.widths, places)}", flush=True)


def trained(base: Config, rates: Sequence[float], seeds: int) -> Losses:
    """The loss of each rate and seed at the horizon."""
    corpus = open_data(base.train.dataset)
    configs = [base.replace({"learning_rate": rate, "seed": seed + 1}) for rate in rates for seed in range(seeds)]
    losses: list[float] = []
    for start in range(0, len(configs), TOGETHER):
        trainer = Trainer(base, corpus)
        members = [trainer.add(config) for config in configs[start : start + TOGETHER]]
        trainer.step(base.train.max_iters)
        at_the_end = trainer.evaluate()
        losses += [at_the_end[member] for member in members]
    found: Losses = np.array(losses).reshape(len(rates), seeds)
    return np.where(np.isnan(found), math.inf, found)


def best_rate(losses: Losses) -> float:
    """The place on the grid, between two of its rates, where a parabola through the lowest of losses (rates,) lies."""
    lowest = int(losses.argmin())
    if not 0 < lowest < len(losses) - 1 or not np.isfinite(losses[lowest - 1 : lowest + 2]).all():
        return float(lowest)
    before, at, after = losses[lowest - 1 : lowest + 2]
    return float(lowest + 0.5 * (before - after) / (before - 2 * at + after))


def _config(width: int, parametrisation: str, args: argparse.Namespace) -> Config:
    base = args.widths[0]
    fields: Mapping[str, Any] = {
        **SHAPE,
        "n_embd": width,
        "n_head": width // HEAD,
        "parametrisation": parametrisation,
        "mup_base_width": base,
        "mup_base_head_width": HEAD,
        "optimizer": args.optimizer,
        "max_iters": args.steps,
        "eval_tokens": TOKENS,
        "dataset": args.data,
    }
    return Config.of(fields)


def _written(found: Estimate | None) -> str:
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})" if found else "-"


def _slope(widths: Sequence[int], places: Sequence[Sequence[float]]) -> str:
    """By how much the best rate changes for each doubling of the width: least squares for each seed."""
    slopes = [float(np.polyfit(np.log2(widths), of_seed, 1)[0]) for of_seed in zip(*places, strict=True)]
    return f"For each doubling of the width log₂ of the best rate changes by {_written(estimate(slopes))}."


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="shakespeare_char", help="dataset, as in a study file")
    parser.add_argument("--widths", nargs="+", type=int, default=[32, 64, 128, 256], help="the first is muP's base")
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=244)
    parser.add_argument("--lowest", type=int, default=-10, help="least learning rate, as a power of two")
    parser.add_argument("--highest", type=int, default=-3, help="largest learning rate, as a power of two")
    parser.add_argument("--quick", action="store_true", help="seconds: only to see that it works")
    args = parser.parse_args()
    if args.quick:
        args.widths, args.steps, args.seeds, args.lowest = [16, 32], 2, 2, -5
    return args


if __name__ == "__main__":
    main()
