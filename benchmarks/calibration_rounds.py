"""What rounds cost in error, and what they gain: confirmations within a number of runs, simulated with known truths.

    python benchmarks/calibration_rounds.py

Seven candidates, planned with 12 seeds each, within 120 runs, about as in the quick start. Who is settled gets no more
seeds, so the candidates end with different numbers of them, chosen by what was seen. How often is anything false said
of the family, how many of the six comparisons are settled, and by how many runs? Beside it: 12 seeds for each of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
from calibration import LOSS, NOISE, TRUTHS, false, look_of, printed, share

from tunemax.search.question.looks import looks
from tunemax.search.question.stages import MARGIN
from tunemax.search.results.rounds import Stand, first_seeds, next_seeds
from tunemax.search.results.sequential import Look, Settled, decide

PLANNED, RUNS, CANDIDATES, MOST = 12, 120, 7, 48


def rounds(made: Mapping[str, Sequence[Look]], at: Sequence[int]) -> tuple[dict[str, Settled], int]:
    """What is settled at the end, and how many runs were trained. made: looks at so many pairs, `at`, by candidate."""
    seeds = dict.fromkeys(["reference", *made], first_seeds(PLANNED, CANDIDATES, RUNS))
    while True:
        seen = {name: [look for look, n in zip(own, at, strict=True) if n <= seeds[name]] for name, own in made.items()}
        found = decide(seen, PLANNED)
        stands = {name: Stand(seeds[name], seeds[name], found[name]) for name in made}
        after = next_seeds(stands, "reference", seeds["reference"], PLANNED, len(made), RUNS)
        if after == seeds:
            return found, sum(seeds.values())
        seeds = after


def simulated(rng: np.random.Generator, truths: Sequence[float], repetitions: int) -> list[str]:
    """Of both ways: how often something false is said, comparisons settled, runs."""
    others, margin = CANDIDATES - 1, MARGIN * LOSS
    at = [n for n in looks(PLANNED, others) if n <= MOST]
    truth = {str(place): truths[place % len(truths)] for place in range(others)}
    wrong, settled, runs = np.zeros((2, repetitions)), np.zeros((2, repetitions)), np.zeros(repetitions)
    reference = rng.normal(0, NOISE, (repetitions, MOST))
    differences = {
        name: rng.normal(0, NOISE, (repetitions, MOST)) - reference + each * margin for name, each in truth.items()
    }
    made = {name: [look_of(own[:, :n], margin) for n in at] for name, own in differences.items()}
    for row in range(repetitions):
        own = {name: [each[row] for each in looked] for name, looked in made.items()}
        by_rounds, runs[row] = rounds(own, at)
        equally = decide({name: looked[: at.index(PLANNED) + 1] for name, looked in own.items()}, PLANNED)
        for way, found in enumerate((by_rounds, equally)):
            wrong[way, row] = any(false(found[name], each) for name, each in truth.items())
            settled[way, row] = sum(each.sign != 0 or each.equal_at is not None for each in found.values())
    spent = f"{runs.mean():.0f}"
    return [
        share(wrong[0].mean()),
        f"{settled[0].mean():.1f}",
        spent,
        share(wrong[1].mean()),
        f"{settled[1].mean():.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    rows = [[name, *simulated(rng, truths, arguments.repetitions)] for name, truths in TRUTHS.items()]
    heads = ["truth", "rounds: false", "settled of 6", "runs", "12 seeds each: false", "settled of 6"]
    printed(f"Rounds within {RUNS} runs, {arguments.repetitions} simulations a row", heads, rows)


if __name__ == "__main__":
    main()
