"""How often is a judgement wrong, and after how many seeds does it know? Simulated from measured noise.

    python benchmarks/calibration_judge.py

`tunemax judge` looks after 6, 8, 12, 16 and 24 pairs of seeds, and stops at the first verdict. Losses are drawn from
`repeats.csv`: seven tuned configurations of the quick start on 60 seeds each. Two seeds of one of them are a pair of
equal configurations; another one on the same seeds, less its typical difference and with a sign by chance, is a pair of
two that are equally good. A true difference is added to one side, in margins of half a percent. Beside it: the same
pairs in a plan of 24 seeds that is looked at once, at its end.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from calibration import ERROR, look_of, one_sided_of, printed, share

from tunemax.search.question.judged import FIRST, SEEDS
from tunemax.search.question.looks import ALPHA, looks
from tunemax.search.question.stages import MARGIN
from tunemax.search.results.sequential import Settled, decide
from tunemax.search.results.signed_rank import pseudomedian

Array = np.ndarray[Any, Any]

RECORDED = Path(__file__).with_name("repeats.csv")
AT = [n for n in looks(FIRST) if n <= SEEDS]
TRUTHS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""True differences, in margins."""
CLEAR = 4.0
"""From this many margins on a difference is clear: a third of the plan must do."""
JITTER = 1e-7
"""Nats; so that no two drawn differences are equal, as none of two runs are."""


def noises(names: Sequence[str], losses: Array) -> Iterator[tuple[str, Array]]:
    """What two equally good sides differ in by chance, as shares of the loss, by what they are."""
    own = losses / np.array([pseudomedian(list(each)) for each in losses.T])
    apart = [own[:, place, None] - own[None, :, place] for place in range(len(names))]
    unpaired = np.concatenate([each[~np.eye(len(each), dtype=bool)] for each in apart])
    yield "one configuration, two seeds", unpaired
    for other in range(1, len(names)):
        paired = own[:, other] - own[:, 0]
        paired = paired - pseudomedian(list(paired))
        yield f"{names[0]} and {names[other]}, one seed", np.concatenate([paired, -paired])


def verdict_of(found: Settled) -> tuple[str, int]:
    """Of a judgement, and after how many pairs it stopped."""
    sign, equal = found.at or SEEDS + 1, found.equal_at or SEEDS + 1
    if min(sign, equal) > SEEDS:
        return "undecided", SEEDS
    return ("equivalent" if equal <= sign else "better" if found.sign < 0 else "worse"), min(sign, equal)


def judged(rng: np.random.Generator, noise: Array, truth: float, repetitions: int) -> tuple[Array, Array, float]:
    """Verdicts and pairs of simulated judgements, and how often a single look after all seeds finds a difference.

    noise: what differences are drawn from, as shares of the loss. truth: of b, in margins.
    """
    drawn = rng.choice(noise, (repetitions, SEEDS)) + rng.normal(0, JITTER, (repetitions, SEEDS)) + truth * MARGIN
    made = [look_of(drawn[:, :n], MARGIN) for n in AT]
    ends = [verdict_of(decide({"b": [each[row] for each in made]}, FIRST)["b"]) for row in range(repetitions)]
    once = 2 * np.minimum(*one_sided_of(drawn, 0.0)) <= ALPHA
    return np.array([verdict for verdict, _ in ends]), np.array([pairs for _, pairs in ends]), float(once.mean())


def false(verdicts: Array, truth: float) -> float:
    """The share of verdicts that say something that is not so. At the margin and beyond equivalence is false; a
    difference in the true direction is true however small it is."""
    wrong = verdicts == "better"
    wrong |= (verdicts == "worse") & (truth == 0)
    wrong |= (verdicts == "equivalent") & (truth >= 1)
    return float(wrong.mean())


def rows(rng: np.random.Generator, repetitions: int, file: Path = RECORDED) -> tuple[list[list[str]], list[float]]:
    """The table, and how often each row errs."""
    with file.open() as opened:
        names, *lines = csv.reader(opened)
    losses = np.array(lines, dtype=float)[:, 1:]
    found, errors = [], []
    for name, noise in noises(names[1:], losses):
        for truth in TRUTHS:
            verdicts, pairs, once = judged(rng, noise, truth, repetitions)
            errors.append(false(verdicts, truth))
            cells = [share(float(np.mean(verdicts == word))) for word in ("better", "worse", "equivalent", "undecided")]
            few = share(float(np.mean(3 * pairs < SEEDS)))
            sd = 100 * float(noise.std())
            found.append([name, f"{sd:.2f} %", f"{truth:g}", *cells, f"{pairs.mean():.1f}", few, share(once)])
    return found, errors


HEADS = (
    *("noise", "SD of a pair", "truth in margins", "better", "worse", "equivalent", "undecided"),
    *("seeds, mean", f"under a third of {SEEDS}", f"differs, {SEEDS} seeds looked at once"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=10_000, help="simulated judgements a row")
    parser.add_argument("--seed", type=int, default=1, help="of the simulations")
    parser.add_argument("--quick", action="store_true", help="10 repetitions, to see whether it runs")
    arguments = parser.parse_args()
    repetitions = 10 if arguments.quick else arguments.repetitions
    told, errors = rows(np.random.default_rng(arguments.seed), repetitions)
    printed(f"Judgements within {SEEDS} seeds of each side, {repetitions:,} a row", HEADS, told)
    print(f"False verdicts are at most {share(max(errors))} (required: {share(ERROR)}).")


if __name__ == "__main__":
    main()
