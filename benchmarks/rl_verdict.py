"""How often a verdict on an agent errs, and what it finds: contests of which the truth is known.

    python benchmarks/rl_verdict.py
    python benchmarks/rl_verdict.py --contest runs/rl.runs/rl/MixedWidths-v1-…/verdict/test-32

A contest has seeds of an agent, tunings of the best static setting, tunings of the best schedule, all on the same
instances, and is judged as `tunemax rl evaluate` judges it, both primary contrasts together. The unit is the standard
deviation, over instances, of the difference of one run of each side. Half of its square is the methods' (an instance
suits the one more than the other), half is left to each run on each instance; whole runs differ by 0.2, 0.5, 1 or 2 of
the unit. *False*: anything is claimed that is not so, better, worse or equal.

With --contest only the table of what was measured is printed, by the standard deviations of a contest that was held:
the folder of its report, in which runs.csv has every training.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report import table

from tunemax.search.results.contrasts import Contrast, judged
from tunemax.search.results.crossed import Crossed, interquartile, moments, pairs, two_sided
from tunemax.search.results.statistics import ALPHA, Array

Size = tuple[int, int, int]
RATIOS = (0.2, 0.5, 1.0, 2.0)
"""Of whole runs' standard deviation to that of instances."""
Deviations = tuple[float, float, float]
"""Of a pair's difference over instances, of seeds, and of the tunings that differ more, in percent of the loss."""
MEASURED: Mapping[str, Deviations] = {
    "PPO on LearningRate-v0 in small": (4.2, 0.59, 0.43),
    "splines and constants there": (0.7, 0.43, 0.11),
}
"""Of contests that were held. In small: as `make rl` has it."""
HALF_HEADROOM = (0.5, 1.0, 2.0)
"""In percent of the loss, where choosing well has 1 to 4 % to gain."""
OF_THE_MIDDLE = 1.09
"""Standard error of an interquartile mean to that of a mean, of normal values."""
SPIKE = 20.0
RARE = 0.03
BATCH = 100
UNIT = 0.01
"""In log losses: a percent of the loss."""
MARGIN = 1.0
"""Of what is equal, in units."""
SIZES = ((5, 5, 64), (8, 8, 256))
"""Seeds, tunings and instances: the fewest that get a verdict, and those of `tunemax rl evaluate` and `tune`."""
HELD = ((5, 5, 32), (8, 8, 256))
"""Of `make rl`, and of what is published."""
OVER_INSTANCES, OF_RUNS = (2.0, 5.0), (0.25, 0.5, 1.0)
"""Standard deviations, in percent of the loss, that a gain of 1 % meets: half of a headroom of 2 %."""


Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.normal(0, 1, shape)


def student(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    found: Array = rng.standard_t(3, shape) / np.sqrt(3)
    return found


def failures(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Now and then a whole run is bad: it has not learned, or its tuning was unlucky."""
    return rng.normal(0, 1, shape) + 8 * (rng.random(shape) < 0.05)


@dataclass(frozen=True)
class Tails:
    """How runs differ, and what becomes of a few of their trainings, on the agent's side and on the baselines'."""

    name: str
    between: Draw = normal
    own: str = ""
    other: str = ""
    gain: float = 0.0
    """The agent's over the others, in units, where its tail moves the middle half."""


TAILS = (
    Tails("normal"),
    Tails("runs t3", between=student),
    Tails("5 % of runs fail", between=failures),
    Tails("3 % spikes", own="spikes", other="spikes"),
    Tails("3 % spikes of the agent", own="spikes", gain=-0.04),
    Tails("3 % diverge", own="diverge", other="diverge"),
    Tails("3 % of the agent's diverge", own="diverge"),
)


def method(rng: np.random.Generator, repeats: int, runs: int, n: int, ratio: float, between: Draw, rare: str) -> Array:
    """Log losses (repeats, runs, instances) of a method that is as good as all others, NaN where it diverged."""
    suits, left = rng.normal(0, 0.5, (repeats, 1, n)), rng.normal(0, 0.5, (repeats, runs, n))
    losses: Array = ratio * between(rng, (repeats, runs, 1)) + suits + left
    if rare:
        hit = rng.random(losses.shape) < RARE
        losses = np.where(hit, losses + SPIKE if rare == "spikes" else np.nan, losses)
    return UNIT * losses


def contests(
    rng: np.random.Generator,
    size: Size,
    ratio: float,
    tails: Tails,
    gains: Sequence[float],
    repeats: int,
    of_tunings: float | None = None,
) -> list[list[Contrast]]:
    """Every contest's contrasts, judged.

    ratio: of the seeds' standard deviation, and the tunings' unless these have another. gains: the agent's, over each
    of the others, in units of UNIT of the loss.
    """
    other_ratio = ratio if of_tunings is None else of_tunings
    seeds, tunings, n = size
    found: list[list[Contrast]] = []
    while len(found) < repeats:
        count = min(BATCH, repeats - len(found))
        agent = method(rng, count, seeds, n, ratio, tails.between, tails.own)
        others = [method(rng, count, tunings, n, other_ratio, tails.between, tails.other) for _ in gains]
        shifts = [math.log1p(-gain * UNIT) for gain in gains]
        beside = [moments(pairs(agent + by, one), interquartile) for by, one in zip(shifts, others, strict=True)]
        for row in range(count):
            family = {str(place): (crossed(part, row, size), n) for place, part in enumerate(beside)}
            found.append(list(judged(family, MARGIN * UNIT).values()))
    return found


def crossed(parts: tuple[Array, Array, Array], row: int, size: Size) -> Crossed:
    value, variances, free = (part[row] for part in parts)
    return Crossed(float(value), tuple(variances.tolist()), tuple(free.tolist()), size[:2])


def is_false(contrasts: Sequence[Contrast], gains: Sequence[float]) -> bool:
    """Whether anything is claimed that is not so."""
    so = {"better": lambda gain: gain > 0, "worse": lambda gain: gain < 0, "equal": lambda gain: abs(gain) < MARGIN}
    return any(each.verdict in so and not so[each.verdict](gain) for each, gain in zip(contrasts, gains, strict=True))


def errors(rng: np.random.Generator, repeats: int) -> tuple[str, float]:
    """How often anything false is claimed; of equal methods, and of some that differ by just the margin."""
    rows, worst = [], 0.0
    plain = TAILS[0]
    cases = [(tails.name, tails, (0.0, 0.0)) for tails in TAILS]
    cases += [("one differs by the margin", plain, (0.0, MARGIN)), ("both do", plain, (-MARGIN, MARGIN))]
    for size in SIZES:
        for name, tails, gains in cases:
            so = [gain + tails.gain for gain in gains]
            wrong = [
                float(np.mean([is_false(each, so) for each in contests(rng, size, ratio, tails, gains, repeats)]))
                for ratio in RATIOS
            ]
            worst = max(worst, *wrong)
            rows.append([f"{_named(size)}: {name}", *map(percent, wrong)])
    heads = ["seeds × tunings × instances", *(f"{ratio:g}" for ratio in RATIOS)]
    return table("False verdicts, by the standard deviation of whole runs", heads, rows), worst


def instances_alone(rng: np.random.Generator, repeats: int) -> str:
    """The error of a test that averages over seeds and looks at instances: of two contrasts, corrected by Holm."""
    rows = []
    for size in SIZES:
        seeds, tunings, n = size
        cells = []
        for ratio in RATIOS:
            agent, *others = (method(rng, repeats, runs, n, ratio, normal, "") for runs in (seeds, tunings, tunings))
            beside = [moments(pairs(agent, other), interquartile) for other in others]
            ps = [two_sided(value, variances * [0, 0, 1], free) for value, variances, free in beside]
            cells.append(percent(float(np.mean(np.min(ps, axis=0) < ALPHA / 2))))
        rows.append([_named(size), *cells])
    heads = ["seeds × tunings × instances", *(f"{ratio:g}" for ratio in RATIOS)]
    return table("False verdicts of a test over instances alone (before)", heads, rows)


def power(rng: np.random.Generator, repeats: int) -> str:
    """How often an agent that gains so much over both is called better than the one, and than both."""
    rows = []
    for size in SIZES:
        for gain in (0.5, 1.0, 2.0):
            cells = []
            for ratio in RATIOS:
                made = contests(rng, size, ratio, TAILS[0], (gain, gain), repeats)
                better = np.array([[each.verdict == "better" for each in contrasts] for contrasts in made])
                cells.append(f"{percent(better[:, 0].mean())}, {percent(better.all(axis=1).mean())}")
            rows.append([f"{_named(size)}: {gain:g}", *cells])
    heads = ["a gain of so many units", *(f"{ratio:g}" for ratio in RATIOS)]
    return table("Better than the best static setting, and than both", heads, rows)


def measured(rng: np.random.Generator, repeats: int, of: Mapping[str, Deviations]) -> str:
    """The same with the variances of contests that were held, and what is falsely claimed of equal methods there."""
    rows = []
    for size in HELD:
        for name, (unit, seeds, tunings) in of.items():
            about = f"{name}: instances {unit:.2g} %, seeds {seeds:.2g} %, tunings {tunings:.2g} %"
            equal = contests(rng, size, seeds / unit, TAILS[0], (0.0, 0.0), repeats, tunings / unit)
            false = percent(float(np.mean([is_false(each, (0.0, 0.0)) for each in equal])))
            cells = [found(rng, size, gain, (unit, seeds, tunings), repeats) for gain in HALF_HEADROOM]
            rows.append([f"{_named(size)}, {about}", false, *cells])
    heads = ["measured", "false", *(f"{gain:g} %" for gain in HALF_HEADROOM)]
    return table("Held contests: false verdicts, and what is found of a gain in percent of the loss", heads, rows)


def found(rng: np.random.Generator, size: Size, gain: float, deviations: Deviations, repeats: int) -> str:
    """How often a gain in percent is called better than the best static setting, and than both."""
    unit, seeds, tunings = deviations
    made = contests(rng, size, seeds / unit, TAILS[0], (gain / unit, gain / unit), repeats, tunings / unit)
    better = np.array([[each.verdict == "better" for each in contrasts] for contrasts in made])
    return f"{percent(better[:, 0].mean())}, {percent(better.all(axis=1).mean())}"


def one_percent(rng: np.random.Generator, repeats: int) -> str:
    """What is found of a gain of 1 %, by how much seeds, tunings and instances differ."""
    rows = []
    for size in HELD:
        for seeds in OF_RUNS:
            all_of = [(unit, seeds, tunings) for unit in OVER_INSTANCES for tunings in OF_RUNS]
            cells = [found(rng, size, 1.0, each, repeats) for each in all_of]
            rows.append([f"{_named(size)}, seeds {seeds:g} %", *cells])
    heads = ["", *(f"instances {unit:g} %, tunings {tunings:g} %" for unit in OVER_INSTANCES for tunings in OF_RUNS)]
    return table("A gain of 1 % of the loss", heads, rows)


def read(folder: Path) -> dict[str, Deviations]:
    """The standard deviations of each agent's contrasts with what was tuned, from a report's table of trainings."""
    losses: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with (folder / "runs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            lost = row["diverged"].lower() == "true"
            loss = math.nan if lost else math.log(float(row["test_loss"]))
            losses[row["contender"], row["role"]][row["run"]].append(loss)
    several = {key: np.array(list(runs.values())) for key, runs in losses.items() if len(runs) > 1}
    return {
        f"{agent} and {other}": deviations(100 * own, 100 * theirs)
        for (agent, role), own in several.items()
        for (other, kind), theirs in several.items()
        if (role, kind) == ("agent", "baseline")
    }


def deviations(own: Array, other: Array) -> Deviations:
    """Of two methods' log losses in percent, (runs, instances) each; what instances do to runs is not taken out.

    Over instances it is that of normal ones whose interquartile mean would be as sure.
    """
    typical, pulls, _ = interquartile(pairs(own, other))
    over_instances = float(pulls.std(axis=-1, ddof=1).mean()) / OF_THE_MIDDLE
    return over_instances, float(typical.mean(axis=1).std(ddof=1)), float(typical.mean(axis=0).std(ddof=1))


def coverage(rng: np.random.Generator, repeats: int) -> tuple[str, float]:
    """How often intervals of 95 % hold the truth, of a single contrast."""
    rows, worst = [], 1.0
    for size in SIZES:
        for tails in TAILS:
            cells = []
            for ratio in RATIOS:
                made = contests(rng, size, ratio, tails, (0.0,), repeats)
                ends = [each.difference.interval() for (each,) in made if each.difference]
                cells.append(float(np.mean([low <= -tails.gain * UNIT <= high for low, high in ends])))
            worst = min(worst, *cells)
            rows.append([f"{_named(size)}: {tails.name}", *map(percent, cells)])
    heads = ["seeds × tunings × instances", *(f"{ratio:g}" for ratio in RATIOS)]
    return table("Intervals of 95 % cover", heads, rows), worst


def _named(size: Size) -> str:
    return " × ".join(map(str, size))


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4000, help="contests of each cell (default 4000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--contest", type=Path, metavar="DIR", help="a report of tunemax rl evaluate")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    arguments = parser.parse_args()
    repeats = 20 if arguments.quick else arguments.repeats
    rng = np.random.default_rng(arguments.seed)
    if arguments.contest:
        print(measured(rng, repeats // 2, read(arguments.contest)))
        return
    wrong, most = errors(rng, repeats)
    print(wrong, flush=True)
    print(instances_alone(rng, min(repeats, 500)))
    covers, least = coverage(rng, repeats)
    print(covers, flush=True)
    print(power(rng, repeats // 2))
    print(measured(np.random.default_rng(arguments.seed + 1), repeats // 2, MEASURED))
    print(one_percent(np.random.default_rng(arguments.seed + 2), repeats // 4))
    print(f"False verdicts are at most {percent(most)} (required: 5.5 %).")
    print(f"Intervals cover in at least {percent(least)} (required: 94 %).")


if __name__ == "__main__":
    main()
