"""How fast the whole machine trains small GPTs: ours in one and two processes, beside two processes of a plain PyTorch
loop.

    python benchmarks/throughput.py                                   # everything; an hour or more
    python benchmarks/throughput.py --shapes S0 --stacks 1 8          # a part; what is not named is not restricted
    python benchmarks/throughput.py --quick                           # seconds: only to see that it works

All contenders of a shape take turns in every round, so that a slow moment slows all of them; ratios are taken within a
round, then their median. Prints Markdown. What has to be compiled is compiled before the first round.
"""

from __future__ import annotations

import argparse
import itertools
import os
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from members import SHAPES as SMALL
from report import environment, spread, table
from seat import SIDE, Seat, Way, together

from tunemax.gpt import matmul
from tunemax.gpt.config import Config
from tunemax.gpt.cost import Cost
from tunemax.gpt.data import open_data

SHAPES = SMALL | {"S3": {"n_layer": 6, "n_embd": 192, "n_head": 6, "block_size": 128, "batch_size": 16}}
STACKS = (1, 2, 4, 8, 16, 32, 64)
PLAIN = Way("softmax", 0, False, "fp32")


@dataclass
class Contender:
    """A way to train in some processes, and what each round found."""

    way: Way
    seats: list[Seat]
    processor: bool = False
    """Whether to look at the processor's clock instead of the wall's."""
    path: str = ""
    iterations: int = 1
    """So many take about the time that a round gives it; each round does the same work."""
    rates: list[float] = field(default_factory=list)
    """Member-steps a second of all its processes, round by round."""

    def calibrate(self, seconds: float) -> None:
        for seat in self.seats:  # one after the other: the first one compiles for both
            seat.ask(self.way, 2)
            self.path = seat.answer().path
        one = together(self.seats, self.way, 3).seconds / 3
        self.iterations = max(1, round(seconds / one))

    def run_round(self) -> None:
        answer = together(self.seats, self.way, self.iterations)
        took = answer.processor if self.processor else answer.seconds
        self.rates.append(len(self.seats) * self.way.members * self.iterations / took)


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    print(*environment(), f"matrix products: {matmul.choose().reason}", sep="\n")
    vocab = open_data(args.data).manifest.vocab_size
    for name in args.shapes:
        shape = SHAPES[name]
        seats = {worker: [Seat(number, shape, args.data, worker) for number in (0, 1)] for worker in (False, True)}
        ways = [
            Way(variant, stack, mode == "compiled", precision)
            for precision, mode, variant, stack in itertools.product(
                args.precisions, args.modes, args.variants, args.stacks
            )
        ]
        plain = Contender(PLAIN, seats[False])
        roofs = {
            precision: Contender(Way("roofline", 0, False, precision), seats[True]) for precision in args.precisions
        }
        settings = (False, True) if args.unset else (True,)
        ours = [
            Contender(way, seats[worker][:count]) for way in ways for count in args.processes for worker in settings
        ]
        contenders = [plain, *roofs.values(), *ours]
        for contender in contenders:
            contender.processor = args.processor_time
            contender.calibrate(args.seconds)
        for _ in range(args.rounds):
            for contender in contenders:
                contender.run_round()
        print(f"\n{_show(name, shape, Cost.of(Config.of(shape), vocab).flops, plain, roofs, ours)}", flush=True)
        for seat in (*seats[False], *seats[True]):
            seat.end()
    print(f"load {os.getloadavg()[0]:.1f} at the end")


def _show(
    name: str, shape: dict[str, Any], work: float, plain: Contender, roofs: dict[str, Contender], ours: list[Contender]
) -> str:
    tokens = shape["block_size"] * shape["batch_size"]

    def row(words: list[str], contender: Contender) -> list[str]:
        rate = median(contender.rates)
        roof = median(roofs[contender.way.precision].rates) * 2 * SIDE**3 if contender.way.precision in roofs else 0.0
        return [
            *words,
            spread(contender.rates, 0 if rate >= 100 else 1),
            f"{rate * tokens:,.0f}",
            spread([own / other for own, other in zip(contender.rates, plain.rates, strict=True)], 2),
            f"{rate * work / 1e9:.0f}",
            f"{100 * rate * work / roof:.0f} %" if roof else "",
        ]

    rows = [row(["plain PyTorch loop", "1", "2"], plain)]
    for each in ours:
        told = f"{each.way.variant}, {each.path.partition(',')[0]}, {each.way.precision}"
        told += "" if each.seats[0].worker else ", without a worker's settings"
        rows.append(row([told, str(each.way.stack), str(len(each.seats))], each))
    roofline = ", ".join(
        f"{precision} {median(roof.rates) * 2 * SIDE**3 / 1e9:.0f}" for precision, roof in roofs.items()
    )
    title = (
        f"{name}: {shape['n_layer']} layers x {shape['n_embd']}, {shape['n_head']} heads, T {shape['block_size']}, B "
        f"{shape['batch_size']}"
    )
    header = [
        "",
        "K",
        "processes",
        "member-steps/s (min-max)",
        "tokens/s",
        "to plain (min-max)",
        "GFLOP/s",
        "of roofline",
    ]
    return f"{table(title, header, rows)}\nRoofline, products of {SIDE} x {SIDE} in two processes: {roofline} GFLOP/s."


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument(
        "--stacks", nargs="+", type=int, default=list(STACKS), metavar="K", help="members stacked in a process"
    )
    parser.add_argument("--variants", nargs="+", default=["softmax", "constantmax"])
    parser.add_argument("--modes", nargs="+", choices=("eager", "compiled"), default=["eager", "compiled"])
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--processes", nargs="+", type=int, choices=(1, 2), default=[1, 2])
    parser.add_argument("--unset", action="store_true", help="ours also without the settings of a worker process")
    parser.add_argument(
        "--processor-time", action="store_true", help="rates by the processor's clock: of use where other work goes on"
    )
    parser.add_argument("--rounds", type=int, default=5, help="in each of which every contender has its turn")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each contender in each round")
    parser.add_argument("--data", default="python_stdlib", help="dataset, as in a study file")
    parser.add_argument(
        "--quick", action="store_true", help="one short round of a few eager contenders; figures mean nothing"
    )
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds, args.stacks, args.modes, args.shapes = 1, 0.01, [1, 2], ["eager"], ["S0"]
    return args


if __name__ == "__main__":
    main()
