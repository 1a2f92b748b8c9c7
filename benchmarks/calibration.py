"""Are claims as sure as they say? Simulated losses of which the truth is known go through the tests of a confirmation.

    python benchmarks/calibration.py

Prints, as tables in Markdown: how often intervals cover; how often a difference is claimed where there is none (on
equal sides, when runs diverge, looked at after every seed, in families of candidates); how often a difference is found,
beside the test of means that there was before; how often a second mode is seen where there is none; and whether the
seeds that are said to be needed are. Then whether what is required is met: intervals cover in 93.5 % at least, and
errors are 5.5 % at most. docs/statistics.md has the tables of 10,000 repetitions; calibration_order.py does the same
for the order of a leaderboard.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median_low as median
from typing import Any

import numpy as np

from tunemax.search.question.looks import ALPHA, looks
from tunemax.search.question.stages import MARGIN
from tunemax.search.results.modes import split
from tunemax.search.results.reliability import reliability
from tunemax.search.results.seeds import needed
from tunemax.search.results.sequential import Look, Pairs, Settled, decide, look
from tunemax.search.results.signed_rank import distribution, one_sided, typical

Array = np.ndarray[Any, Any]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]

COVERED, ERROR = 0.935, 0.055
"""What is required."""
LOSS, SEED, NOISE = 2.2, 0.03, 0.01
"""Of simulated runs: the typical loss, what seeds differ in on both sides, and what each run differs in by itself."""


def spiky(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal, and one in twenty ends in another mode."""
    return np.asarray(rng.normal(size=shape) + 10 * (rng.random(shape) < 0.05))


LAWS: Mapping[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "t3": lambda rng, shape: rng.standard_t(3, shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "lognormal": lambda rng, shape: rng.lognormal(size=shape),
    "5 % spikes": spiky,
}


# ---- intervals -------------------------------------------------------------------------------------------------------


def coverage(rng: np.random.Generator, repetitions: int) -> tuple[list[list[str]], list[float]]:
    """How often the interval of the pseudomedian has it, and that of the mean, by Student's t, has the mean."""
    rows, found = [], []
    for name, draw in LAWS.items():
        large = draw(rng, (2, 1_000_000))
        truth, mean = float(np.median(large.mean(axis=0))), float(large.mean())
        cells = [name]
        for n in (8, 12, 24, 48):
            given = draw(rng, (repetitions, n))
            ends = [typical(row) for row in given]
            covered = float(np.mean([each.low <= truth <= each.high for each in ends]))
            found.append(covered)
            cells += [share(covered), share(float(np.mean(np.abs(students_t(given, mean)) <= t_edge(n))))]
        rows.append(cells)
    return rows, found


def students_t(given: Array, mean: float = 0.0) -> Array:
    return np.asarray((given.mean(1) - mean) / given.std(1, ddof=1) * math.sqrt(given.shape[1]))


def t_edge(n: int) -> float:
    from scipy.stats import t

    return float(t.ppf(1 - ALPHA / 2, n - 1))


# ---- one candidate ---------------------------------------------------------------------------------------------------


def sides(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Losses of two sides on the same seeds, between which there is no difference."""
    base = LOSS + SEED * rng.normal(size=shape)
    return base + NOISE * rng.normal(size=shape), base + NOISE * rng.normal(size=shape)


def quarter_lost(losses: Array) -> Array:
    """The worst quarter of what may come diverges."""
    return np.where(losses > LOSS + 0.6745 * math.hypot(SEED, NOISE), np.inf, losses)


def verdicts(rng: np.random.Generator, repetitions: int) -> tuple[list[list[str]], list[float]]:
    """What is claimed of two sides of which none is better."""

    def spiked(losses: Array) -> Array:
        return losses + 0.13 * (rng.random(losses.shape) < 0.2)

    def some_lost(losses: Array) -> Array:
        return np.where(rng.random(losses.shape) < 0.25, np.inf, losses)

    cases: Mapping[str, Callable[[Array, Array], tuple[Array, Array]]] = {
        "equal": lambda a, b: (a, b),
        "one seed in five 0.13 higher, on both sides": lambda a, b: (spiked(a), spiked(b)),
        "a quarter diverges, on both sides": lambda a, b: (some_lost(a), some_lost(b)),
        "both sides lose their worst quarter": lambda a, b: (quarter_lost(a), quarter_lost(b)),
        "the candidate loses its worst quarter": lambda a, b: (quarter_lost(a), b),
        "5 % spikes of the candidate alone": lambda a, b: (a + 0.13 * (rng.random(a.shape) < 0.05), b),
        "20 % spikes of the candidate alone": lambda a, b: (a + 0.13 * (rng.random(a.shape) < 0.2), b),
    }
    rows, errors = [], []
    for place, (name, made) in enumerate(cases.items()):
        for n in (12, 24):
            own, other = made(*sides(rng, (repetitions, n)))
            said = [verdict(a, b) for a, b in zip(own, other, strict=True)]
            better, worse, mixed = (float(np.mean([each == word for each in said])) for word in WORDS)
            rows.append([name, str(n), share(better), share(worse), share(mixed)])
            errors += [better + worse] if place < 4 else [better]
    return rows, errors


WORDS = ("better", "worse", "mixed")


def verdict(own: Array, other: Array) -> str:
    """As `Comparison.verdict` has it, without a margin."""
    pairs = Pairs(tuple(own.tolist()), tuple(other.tolist()))
    found = decide({"a": [look(pairs.first(n), math.nan) for n in looks(len(pairs)) if n <= len(pairs)]}, len(pairs))
    losses = reliability(pairs.own, pairs.other)
    if found["a"].sign == 0:
        return "undecided"
    against = losses.less if found["a"].sign < 0 else losses.greater
    return "mixed" if against else "better" if found["a"].sign < 0 else "worse"


def power(rng: np.random.Generator, repetitions: int) -> list[list[str]]:
    """How often a true difference is found: by the sequential test at its planned number, by the signed-rank test
    alone, and by sign flips of the mean as before."""
    rows = []
    for name in ("normal", "t3", "5 % spikes"):
        for n, effect in ((12, 1.0), (24, 0.7)):
            given = LAWS[name](rng, (repetitions, n)) + effect
            made = [look_of(given[:, :count]) for count in looks(n) if count <= n]
            sequential = settled([{"a": [each[row] for each in made]} for row in range(repetitions)], n)
            once = 2 * np.minimum(*one_sided_of(given, 0.0)) <= ALPHA
            cells = [
                float(np.mean([each["a"].sign == 1 for each in sequential])),
                float(np.mean(once)),
                float(np.mean(flipped(given, rng) < ALPHA)),
            ]
            rows.append([name, str(n), f"{effect:g}", *map(share, cells)])
    return rows


def flipped(given: Array, rng: np.random.Generator) -> Array:
    """p of the mean by sign flips; exact for 12 pairs, from 4,000 random signs for more."""
    n = given.shape[1]
    signs = np.array(np.meshgrid(*[[1, -1]] * n)).reshape(n, -1) if n <= 12 else rng.choice([-1, 1], (n, 4000))
    seen = np.abs(given.sum(1))[:, None]
    return np.concatenate([np.mean(np.abs(g @ signs) >= s - 1e-9, axis=1) for g, s in parts(given, seen)])


def parts(*arrays: Array) -> list[tuple[Array, ...]]:
    """In pieces that fit into memory."""
    count = max(1, len(arrays[0]) // 500)
    return list(zip(*(np.array_split(each, count) for each in arrays), strict=True))


# ---- looks and families ----------------------------------------------------------------------------------------------


def one_sided_of(given: Array, shift: float) -> tuple[Array, Array]:
    """`signed_rank.one_sided` of many samples at once, which have no ties but those of runs that diverged."""
    size = np.abs(given - shift)
    n, ranks = given.shape[1], size.argsort(1).argsort(1) + 1
    positive, below = (ranks * (given > shift)).sum(1), distribution(given.shape[1])
    found = np.stack([below[positive], below[n * (n + 1) // 2 - positive]])
    for row in np.flatnonzero((np.isinf(given).sum(1) > 1) | (size == 0).any(1)):
        found[:, row] = one_sided(given[row], shift)
    return found[0], found[1]


def look_of(differences: Array, margin: float = math.inf) -> list[Look]:
    """Of many samples. margin: in nats a token; inf: none is tested."""
    below, above = one_sided_of(differences, 0.0)
    inside = np.ones_like(below), np.ones_like(below)
    if math.isfinite(margin):
        inside = one_sided_of(differences, margin)[0], one_sided_of(differences, -margin)[1]
    return [Look(*map(float, each)) for each in zip(below, above, *inside, strict=True)]


def settled(made: Sequence[Mapping[str, Sequence[Look]]], planned: int) -> list[dict[str, Settled]]:
    return [decide(each, planned) for each in made]


def sequential(rng: np.random.Generator, repetitions: int) -> tuple[list[list[str]], list[float]]:
    """How often a difference is claimed that is none, by who looks after every seed up to the last one."""

    def lost(losses: Array) -> Array:
        return np.where(rng.random(losses.shape) < 0.25, np.inf, losses)

    rows, errors = [], []
    for name, change in (("equal", None), ("a quarter diverges, on both sides", lost)):
        for planned, last in ((6, 24), (12, 12), (12, 96), (24, 24), (24, 96)):
            own, other = sides(rng, (repetitions, last))
            if change:
                own, other = change(own), change(other)
            with np.errstate(invalid="ignore"):
                given = np.where(own == other, 0.0, own - other)
            made = [look_of(given[:, :count]) for count in looks(planned) if count <= last]
            found = settled([{"a": [each[row] for each in made]} for row in range(repetitions)], planned)
            error = float(np.mean([each["a"].sign != 0 for each in found]))
            naive = np.any([[2 * min(each.below, each.above) <= ALPHA for each in own] for own in made], axis=0)
            rows.append([name, str(planned), str(last), share(error), share(float(naive.mean()))])
            errors.append(error)
    return rows, errors


TRUTHS: Mapping[str, Sequence[float]] = {
    "all equal": (0.0,),
    "all at the margin": (1.0, -1.0),
    "equal, or 5 margins apart": (0.0, 5.0, 0.0, -5.0),
    "at the margin, or 5 margins apart": (1.0, 5.0, -1.0, -5.0),
    "equal, at the margin, 5 margins apart": (0.0, 1.0, -5.0),
}
"""Differences of candidates in margins, over and over."""


def families(rng: np.random.Generator, repetitions: int) -> tuple[list[list[str]], list[float]]:
    """How often anything false is said of a family, planned with 12 seeds and extended to 24: a difference that is
    none, the wrong side, or equal within the margin what is as far apart as it."""
    rows, errors = [], []
    margin, planned = MARGIN * LOSS, 12
    for name, truths in TRUTHS.items():
        cells = [name]
        for size in range(2, 8):
            truth = [truths[place % len(truths)] for place in range(size)]
            reference = rng.normal(0, NOISE, (repetitions, 24))
            made = []
            for each in truth:
                given = rng.normal(0, NOISE, (repetitions, 24)) - reference + each * margin
                made.append([look_of(given[:, :n], margin) for n in looks(planned, size) if n <= 24])
            cases = [
                {str(place): [each[row] for each in own] for place, own in enumerate(made)}
                for row in range(repetitions)
            ]
            wrong = [
                any(false(found[str(place)], each) for place, each in enumerate(truth))
                for found in settled(cases, planned)
            ]
            errors.append(float(np.mean(wrong)))
            cells.append(share(errors[-1]))
        rows.append(cells)
    return rows, errors


def false(found: Settled, truth: float) -> bool:
    """Whether what is said of a candidate is not so. truth: its difference in margins."""
    return (found.sign * truth <= 0 and found.sign != 0) or (found.equal_at is not None and abs(truth) >= 1)


# ---- modes, and how many seeds ---------------------------------------------------------------------------------------


def modes(rng: np.random.Generator, repetitions: int) -> list[list[str]]:
    """How often two modes are seen: where there is one, and where one seed in five ends 0.13 higher."""
    cases: Mapping[str, Draw] = {
        "normal": LAWS["normal"],
        "t3": LAWS["t3"],
        "two, 0.13 apart, SD 0.02 each": lambda rng, shape: (
            rng.normal(0, 0.02, shape) + 0.13 * (rng.random(shape) < 0.2)
        ),
    }
    rows = []
    for name, draw in cases.items():
        cells = [name]
        for n in (12, 24):
            found = [split(row) for row in draw(rng, (repetitions, n))]
            several = float(np.mean([each is not None and each.worse > 1 for each in found]))
            cells += [share(float(np.mean([each is not None for each in found]))), share(several)]
        rows.append(cells)
    return rows


def ranges(rng: np.random.Generator, repetitions: int) -> tuple[list[list[str]], list[float]]:
    """How often the seeds that are truly needed lie in the range that is said of what is undecided."""
    rows, missed = [], []
    for n in (12, 24):
        for effect in (0.1, 0.167, 0.3, 0.5):
            given = rng.normal(effect, 1, (repetitions, n))
            undecided = given[2 * np.minimum(*one_sided_of(given, 0.0)) > ALPHA]
            said = [needed(row, n) for row in undecided]
            truth = truly(effect, n)
            inside = float(np.mean([(each.low or math.inf) <= truth <= (each.high or math.inf) for each in said]))
            low, high = (median([getattr(each, end) or math.inf for each in said]) for end in ("low", "high"))
            ends = [f"{end:,.0f}" if math.isfinite(end) else "more than 1,000" for end in (truth, low, high)]
            rows.append([str(n), f"{effect:g}", ends[0], f"{ends[1]} … {ends[2]}", share(inside)])
            missed.append(1 - inside)
    return rows, missed


def truly(effect: float, n: int) -> float:
    """Seeds that the look to come needs, were the effect of normal differences known."""
    from scipy.stats import norm

    from tunemax.search.results.sequential import level

    for count in looks(n):
        edge = float(norm.isf(level(count, n) / 2))
        if count > n and norm.sf(edge - effect * math.sqrt(3 / math.pi * count)) >= 0.8:
            return count
    return math.inf


# ---- printed ---------------------------------------------------------------------------------------------------------


def share(value: float) -> str:
    return f"{100 * value:.1f} %"


def printed(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"### {title}\n")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=10_000, help="simulated confirmations a figure")
    parser.add_argument("--seed", type=int, default=1, help="of the simulations")
    parser.add_argument("--quick", action="store_true", help="10 repetitions, to see whether it runs")
    arguments = parser.parse_args()
    repetitions, rng = 10 if arguments.quick else arguments.repetitions, np.random.default_rng(arguments.seed)

    rows, covered = coverage(rng, repetitions)
    heads = [f"{n}{what}" for n in (8, 12, 24, 48) for what in ("", ", mean ± t")]
    printed("Intervals of 95 % cover, by number of pairs", ["differences", *heads], rows)
    rows, errors = verdicts(rng, repetitions)
    printed("Verdicts where neither side is better", ["runs", "seeds", *WORDS], rows)
    heads = ["seeds planned", "looked at up to", "error", "p < 0.05 at any look"]
    rows, more = sequential(rng, repetitions)
    printed("Looked at after every seed", ["runs", *heads], rows)
    errors += more
    rows, more = families(rng, repetitions)
    printed("Anything false of so many candidates", ["differences", *map(str, range(2, 8))], rows)
    errors += more
    heads = ["seeds", "difference in SD", "sequential", "signed-rank, once", "mean by sign flips, once (before)"]
    printed("A difference is found", ["differences", *heads], power(rng, repetitions))
    heads = ["12 runs", "more than one above", "24 runs", "more than one above"]
    printed("Two modes are seen", ["losses", *heads], modes(rng, repetitions))
    rows, missed = ranges(rng, repetitions)
    heads = ["undecided at", "difference in SD", "seeds truly needed", "median range", "lies in the range"]
    printed("The range of seeds needed", heads, rows)

    print(f"Intervals cover in at least {share(min(covered))} (required: {share(COVERED)}).")
    print(f"Errors are at most {share(max(errors))} (required: {share(ERROR)}).")
    print(f"The seeds needed lie in their range in at least {share(1 - max(missed))} (required: 80.0 %).")


if __name__ == "__main__":
    main()
