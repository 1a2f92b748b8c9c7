"""How fast members train with other parts, beside the default model: every kind that is registered, and what goes with
each kind.

    python benchmarks/parts.py                          # S0 and S1, eager; minutes
    python benchmarks/parts.py --shapes S0 --compiled   # half a minute for each kind the first time, to compile it
    python benchmarks/parts.py --quick                  # seconds: only to see that it works

All take turns in every round, on one thread, by the processor's clock. Prints Markdown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from members import SHAPES
from report import environment, spread, table

from tunemax.gpt.config import PARTS, Config, all_specs
from tunemax.gpt.cost import Cost
from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.trainer import Trainer

MEMBERS = 8
HEAD = 16
"""Width of a head, so that fractal attention has slices."""
MORE: tuple[dict[str, Any], ...] = (
    {"window": 8},
    {"qk_norm": "l2"},
    {"qk_norm": "rms", "qk_norm_scale": True},
    {"v_norm": "rms"},
    {"attention_sink": True},
    {"norm_position": "post"},
    {"norm_position": "peri"},
    {"position": "rotary", "rope_share": 0.5},
    {"logit_softcap": 30.0},
    {"z_loss": 1e-4},
)
"""Beside the kinds themselves."""


@dataclass
class Contender:
    """A stack of members with some parts, and what each round found."""

    name: str
    config: Config
    trainer: Trainer
    iterations: int = 1
    rates: list[float] = field(default_factory=list)
    """Member-steps a second of the processor."""

    @classmethod
    def of(cls, fields: dict[str, Any], shape: dict[str, Any], corpus: Corpus, compiled: bool) -> Contender:
        config = Config.of({**shape, **fields, "compile": compiled})
        trainer = Trainer(config, corpus)
        for seed in range(MEMBERS):
            trainer.add(config.replace({"seed": seed}))
        name = ", ".join(f"{name} {str(value).lower()}" for name, value in fields.items()) or "the default model"
        return cls(name, config, trainer)

    def calibrate(self, seconds: float) -> None:
        self.trainer.step(3)
        self.iterations = max(1, round(seconds / self._timed(2) * 2))

    def run_round(self) -> None:
        self.rates.append(MEMBERS * self.iterations / self._timed(self.iterations))

    def _timed(self, iterations: int) -> float:
        start = time.process_time()
        self.trainer.step(iterations)
        return time.process_time() - start


def choices() -> Iterator[dict[str, Any]]:
    """Fields of each contender, the default model first."""
    yield {}
    for name, family in PARTS.items():
        if name != "softmax_variant":  # which `stack.py` and `throughput.py` compare
            yield from ({name: kind} for kind in family.kinds() if kind != all_specs()[name].default)
    yield from MORE


def measured(shape: dict[str, Any], corpus: Corpus, compiled: bool, rounds: int, seconds: float) -> list[list[str]]:
    """Rows of the table."""
    contenders = [Contender.of(fields, shape, corpus, compiled) for fields in choices()]
    for contender in contenders:
        contender.calibrate(seconds)
    for _ in range(rounds):
        for contender in contenders:
            contender.run_round()
    plain, vocab = contenders[0], corpus.manifest.vocab_size
    rows = []
    for contender in contenders:
        ratios = [rate / other for rate, other in zip(contender.rates, plain.rates, strict=True)]
        flops = Cost.of(contender.config, vocab).flops / Cost.of(plain.config, vocab).flops
        way, rate = contender.trainer.arithmetic.partition(",")[0], f"{median(contender.rates):.0f}"
        rows.append([contender.name, way, rate, spread(ratios, 2), f"{flops:.2f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=["S0", "S1"], default=["S0", "S1"])
    parser.add_argument("--compiled", action="store_true", help="compiled members, too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="that each round gives each contender")
    parser.add_argument("--data", default="python_stdlib")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    corpus = open_data(arguments.data)
    print("\n".join(environment()), end="\n\n")
    rounds, seconds = (1, 0.01) if arguments.quick else (arguments.rounds, arguments.seconds)
    header = ["parts", "way", "member-steps/s", "to the default (min-max)", "FLOPs to the default"]
    for name in arguments.shapes[:1] if arguments.quick else arguments.shapes:
        for compiled in (False, True)[: 2 if arguments.compiled else 1]:
            shape = {**SHAPES[name], "n_head": SHAPES[name]["n_embd"] // HEAD}
            title = f"{name}: {shape['n_layer']} layers x {shape['n_embd']}, K = {MEMBERS}"
            print(table(title, header, measured(shape, corpus, compiled, rounds, seconds)))


if __name__ == "__main__":
    main()
