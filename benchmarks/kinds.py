"""How fast does a stack train with each kind of a part: of optimizers, norms, MLPs, …

    python benchmarks/kinds.py optimizer                 # minutes
    python benchmarks/kinds.py optimizer --compile       # compiles each kind first
    python benchmarks/kinds.py optimizer --quick         # seconds: only to see that it works

One process, one thread, fp32. All kinds take turns in each round; a ratio is taken within a round, to the default kind,
then their median. By the processor's clock, so that other work on the machine matters less.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import torch
from members import SHAPES
from report import environment, spread, table

from tunemax.gpt import hardware
from tunemax.gpt.config import PARTS, Config, all_specs
from tunemax.gpt.data import open_data
from tunemax.gpt.trainer import Trainer


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    hardware.keep_memory()
    print(*environment(), sep="\n")
    for shape in args.shapes:
        kinds = list(PARTS[args.field].kinds())
        trainers = {kind: _stack(SHAPES[shape], args, kind) for kind in kinds}
        rates: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(args.rounds):
            for kind, trainer in trainers.items():
                start = time.process_time()
                trainer.step(args.steps)
                rates[kind].append(args.members * args.steps / (time.process_time() - start))
        usual = rates[str(all_specs()[args.field].default)]
        rows = [
            [kind, spread(found, 0), f"{median(own / other for own, other in zip(found, usual, strict=True)):.2f}"]
            for kind, found in rates.items()
        ]
        how = trainers[kinds[0]].arithmetic.partition(",")[0]
        header = [args.field, "member-steps/s (min-max)", "to the default"]
        print(f"\n{table(f'{shape}, {args.members} members, {how}', header, rows)}", flush=True)


def _stack(shape: dict[str, Any], args: argparse.Namespace, kind: str) -> Trainer:
    """A trainer with all members, warm."""
    config = Config.of({**shape, args.field: kind, "compile": args.compile, "dataset": args.data})
    trainer = Trainer(config, open_data(args.data))
    for seed in range(args.members):
        trainer.add(config.replace({"seed": seed}))
    trainer.step(2)
    return trainer


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("field", choices=PARTS, help="that names the kind")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["S0", "S1"])
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="of each kind in each round")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--data", default="python_stdlib", help="dataset, as in a study file")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.shapes, args.members, args.rounds, args.steps = ["S0"], 2, 1, 1
    return args


if __name__ == "__main__":
    main()
