"""How often is an order of candidates called one that a repeat would change? Searches by real samplers of losses whose
truth is known go through the rule of the leaderboard.

    python benchmarks/calibration_order.py

All candidates of a question have the same law here, so nobody is ahead: whoever is told apart from a neighbour is told
apart wrongly. Then one of two is ahead by what is said, and it is counted how often that is seen. A landscape is
searched many times, and candidates are drawn from these searches. Prints tables in Markdown; docs/statistics.md has
them.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import optuna
from optuna.trial import TrialState

from tunemax.search.results.order import ERROR, Search, groups

CANDIDATES = (2, 3, 4, 5, 6, 7)
LEADS = (0.02, 0.05, 0.1, 0.2)
"""In nats a token."""
FLOOR, NOISE = 2.2, 0.006
"""The least typical loss, and what one training differs from the next."""

Loss = Callable[[optuna.Trial, np.random.Generator], float]


def rate(trial: optuna.Trial) -> float:
    """How far the learning rate is from the best one, as a factor's logarithm."""
    return math.log(trial.suggest_float("rate", 1e-4, 1e-1, log=True) / 6e-3)


def plain(trial: optuna.Trial, rng: np.random.Generator) -> float:
    """A learning rate alone."""
    return FLOOR + 0.05 * rate(trial) ** 2 + NOISE * rng.normal()


def edge(trial: optuna.Trial, rng: np.random.Generator) -> float:
    """A learning rate whose best value lies near the edge of stability: beyond it one run in five ends in a bad mode,
    and farther on it diverges."""
    x = rate(trial)
    worse = 0.25 * max(0.0, x - 0.6) + 0.13 * (x > 0.2 and rng.random() < 0.2)
    return 4.2 if x > 1.6 else FLOOR + 0.03 * x**2 + worse + NOISE * rng.normal()


def four(trial: optuna.Trial, rng: np.random.Generator) -> float:
    """A learning rate, two parameters of a variant, and a choice."""
    x, y = rate(trial), math.log(trial.suggest_float("gamma", 1, 300, log=True) / 30)
    z, choice = trial.suggest_float("beta", 0, 5) - 2, trial.suggest_categorical("choice", ("a", "b"))
    return FLOOR + 0.04 * x**2 + 0.02 * y**2 + 0.01 * z**2 + 0.03 * (choice == "a") + NOISE * rng.normal()


def six(trial: optuna.Trial, rng: np.random.Generator) -> float:
    """Six dimensions, two of them choices in which a search gets stuck."""
    x, y = rate(trial), math.log(trial.suggest_float("gamma", 1, 300, log=True) / 30)
    z, w = trial.suggest_float("beta", 0, 5) - 2, math.log(trial.suggest_float("ratio", 0.1, 100, log=True) / 5)
    stuck = {"a": 0.0, "b": 0.04, "c": 0.08}[trial.suggest_categorical("choice", ("a", "b", "c"))]
    stuck += 0.03 * trial.suggest_categorical("switch", (False, True))
    return FLOOR + 0.05 * (x**2 + y**2) + 0.03 * z**2 + 0.02 * w**2 + stuck + NOISE / 2 * rng.normal()


@dataclass(frozen=True)
class Landscape:
    """What is searched, and how. trials: one number for all candidates, or another one for the first of them."""

    name: str
    loss: Loss
    trials: tuple[int, ...]
    learns: bool = True
    pruned: bool = False


LANDSCAPES = (
    Landscape("learning rate, random", plain, (16,), learns=False),
    Landscape("learning rate, random, one has more trials", plain, (34, 24), learns=False),
    Landscape("four dimensions, random", four, (60,), learns=False),
    Landscape("learning rate, TPE", plain, (14,)),
    Landscape("edge of stability, TPE, median pruner", edge, (14,), pruned=True),
    Landscape("edge of stability, TPE", edge, (24,)),
    Landscape("four dimensions, TPE, one has more trials", four, (34, 24)),
    Landscape("four dimensions, TPE, median pruner", four, (24,), pruned=True),
    Landscape("six dimensions, TPE", six, (24,)),
    Landscape("six dimensions, TPE, median pruner", six, (60,), pruned=True),
)


def startup_of(trials: int) -> int:
    """As a study has it by default."""
    return min(10, max(4, trials // 4))


def search(landscape: Landscape, trials: int, seed: int) -> Search:
    """One search, as the leaderboard sees it."""
    rng, begins = np.random.default_rng(seed), startup_of(trials)
    learning = optuna.samplers.TPESampler(seed=seed, n_startup_trials=begins)
    study = optuna.create_study(sampler=learning if landscape.learns else optuna.samplers.RandomSampler(seed=seed))
    halves: list[float] = []
    for _ in range(trials):
        trial = study.ask()
        loss = landscape.loss(trial, rng)
        half = loss + 0.4 + 0.02 * rng.normal()
        worse = len(halves) >= 4 and half > float(np.median(halves))
        if landscape.pruned and worse and rng.random() > 0.1:  # one in ten is spared
            trial.report(half, 1)
            study.tell(trial, state=TrialState.PRUNED)
            continue
        halves.append(half)
        study.tell(trial, loss)
    ended = [
        (trial.number, trial.value)
        for trial in study.trials
        if trial.value is not None and trial.state.name == "COMPLETE"
    ]
    begun = min((value for number, value in ended if number < begins), default=math.inf)
    return Search(sorted(value for _, value in ended), trials, begun if landscape.learns else None)


def pools(landscape: Landscape, count: int) -> list[list[Search]]:
    """Searches with each of the numbers of trials."""
    return [[search(landscape, trials, seed) for seed in range(count)] for trials in landscape.trials]


def told_apart(searches: Sequence[Search]) -> bool:
    """Whether any two neighbours are."""
    found = groups(searches)
    return found is not None and len(found) > 1


def drawn(pool: Sequence[Sequence[Search]], candidates: int, rng: np.random.Generator) -> list[Search]:
    """Candidates, the first of which may have more trials."""
    chosen = [rng.choice(len(some), candidates, replace=False) for some in pool]
    return [pool[min(place, len(pool) - 1)][chosen[min(place, len(pool) - 1)][place]] for place in range(candidates)]


def ahead(found: Search, lead: float) -> Search:
    """The same search of losses that are lower by so much."""
    begun = None if found.begun is None else found.begun - lead
    return replace(found, losses=[loss - lead for loss in found.losses], begun=begun)


def errors(pool: Sequence[Sequence[Search]], repetitions: int, rng: np.random.Generator) -> Mapping[int, float]:
    """By number of candidates, none of which is ahead: how often any two neighbours are told apart."""
    return {
        count: float(np.mean([told_apart(drawn(pool, count, rng)) for _ in range(repetitions)])) for count in CANDIDATES
    }


def power(pool: Sequence[Sequence[Search]], repetitions: int, rng: np.random.Generator) -> list[float]:
    """By lead: how often one of two that is ahead by so much is told apart, and stands first."""
    found = []
    for lead in LEADS:
        pairs = [drawn(pool, 2, rng) for _ in range(repetitions)]
        found.append(float(np.mean([groups([ahead(one, lead), other]) == [[0], [1]] for one, other in pairs])))
    return found


def share(value: float) -> str:
    return f"{100 * value:.1f} %"


def printed(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"### {title}\n\n| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows), end="\n\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=100, help="of each landscape")
    parser.add_argument("--repetitions", type=int, default=2_000, help="questions drawn for a figure")
    parser.add_argument("--quick", action="store_true", help="7 searches and 20 repetitions, to see whether it runs")
    arguments = parser.parse_args()
    searches, repetitions = (7, 20) if arguments.quick else (arguments.searches, arguments.repetitions)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    rng, wrong, alone, seen, worst = np.random.default_rng(1), [], [], [], 0.0
    for landscape in LANDSCAPES:
        pool = pools(landscape, searches)
        found = errors(pool, repetitions, rng)
        worst = max(worst, *found.values())
        trials = " and ".join(map(str, landscape.trials))
        wrong.append((landscape.name, trials, *map(share, found.values())))
        as_drawn = [[replace(each, begun=None) for each in some] for some in pool]
        alone.append((landscape.name, trials, *map(share, errors(as_drawn, repetitions, rng).values())))
        seen.append((landscape.name, trials, *map(share, power(pool, repetitions, rng))))
    heads = ("searched", "trials each")
    printed("Told apart though equal, by number of candidates", (*heads, *map(str, CANDIDATES)), wrong)
    printed(
        "The same by the first rule alone, as if all draws were independent", (*heads, *map(str, CANDIDATES)), alone
    )
    printed("Told apart, one of two ahead by so many nats", (*heads, *map(str, LEADS)), seen)
    print(f"Errors are at most {share(worst)} (required: {share(ERROR)}).")


if __name__ == "__main__":
    main()
