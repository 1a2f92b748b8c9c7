"""How soon does a search find good settings? Several ways to search one space, in member-steps, judged on fresh seeds.

    python benchmarks/search_quality.py --repeats 5
    python benchmarks/search_quality.py --repeats 5 --forget    # without the known settings that a study tries first

Each way searches the settings of constantmax (8 dimensions) several times, each time with another tuning seed that all
ways share. Whenever a trial ends, the way's incumbent is its best complete trial so far. What a search believes of its
incumbent is too good to be true, so every incumbent is trained anew on fresh seeds, and its mean loss there, on text
that no tuning has seen, is what counts. Prints the quantiles over the repeats at equal member-steps, and how many
member-steps each way needs to be as good as random search is with its whole budget.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from report import environment, table

from tunemax.gpt.config import Config
from tunemax.gpt.data import open_data
from tunemax.gpt.trainer import Trainer
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.pruners import Pruner
from tunemax.search.question.study_file import define
from tunemax.search.storage.attributes import ITERATIONS, outcome, state
from tunemax.search.storage.fresh_seeds import APART
from tunemax.search.storage.questions import Question, create
from tunemax.search.storage.trials import live, set_system_attr
from tunemax.search.workers.events import Event, Finished
from tunemax.search.workers.worker import Worker

RANDOM = "random"
WAYS: Mapping[str, tuple[Any, Any]] = {
    RANDOM: ("random", "none"),
    "tpe": ("tpe", "none"),
    "gp": ("gp", "none"),
    "cmaes": ("cmaes", "none"),
    "qmc": ("qmc", "none"),
    "auto": ("auto", "none"),
    "random + median": ("random", "median"),
    "tpe + median": ("tpe", "median"),
    "gp + median": ("gp", "median"),
    "auto + median": ("auto", "median"),
    "tpe + asha": ("tpe", "asha"),
    "gp + asha": ("gp", "asha"),
    "auto + asha": ("auto", "asha"),
}
"""Name → sampler and pruner."""
DEFAULT = (RANDOM, "tpe", "auto", "tpe + median", "auto + median", "auto + asha")
BASE = {
    "softmax_variant": "constantmax",
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 32,
    "block_size": 32,
    "batch_size": 8,
    "eval_interval": 30,
    "eval_iters": 40,
    "device": "cpu",
    "tensorboard": False,
}
SPACE = {
    "learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
    **dict.fromkeys(
        (
            "variant_lr_ratio",
            "constantmax.beta",
            "constantmax.gamma",
            "weight_decay",
            "beta2",
            "min_lr_ratio",
            "grad_clip",
        ),
        "default",
    ),
}
SHARES = (1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1.0)
"""Of the budget, at which the ways are compared."""


@dataclass(frozen=True)
class Incumbent:
    """The best complete trial of a search from so many member-steps on."""

    steps: int
    believed: float
    """Its loss in the search."""
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Search:
    """One search: its incumbents in turn, and what each is worth on fresh seeds."""

    way: str
    seed: int
    incumbents: Sequence[Incumbent]
    worth: Sequence[float]
    steps: int
    seconds: float

    def at(self, steps: float) -> float:
        """What the incumbent after so many member-steps is worth; NaN before there is one."""
        known = [
            worth for incumbent, worth in zip(self.incumbents, self.worth, strict=True) if incumbent.steps <= steps
        ]
        return known[-1] if known else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="searches of each way")
    parser.add_argument("--trials", type=int, default=48, help="trials of a search without a pruner")
    parser.add_argument("--horizon", type=int, default=300, help="iterations of a trial")
    parser.add_argument("--fresh", type=int, default=4, help="fresh seeds on which an incumbent is judged")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=DEFAULT, metavar="WAY", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--processes", type=int, default=2, help="searches at once, of one thread each")
    parser.add_argument("--data", default="python_stdlib", help="the text")
    parser.add_argument("--forget", action="store_true", help="leave out the known settings that a study tries first")
    arguments = parser.parse_args()

    open_data(arguments.data)  # prepared once, before processes want it
    plan = [(way, 1 + repeat) for repeat in range(arguments.repeats) for way in arguments.ways]
    jobs = [
        (way, seed, arguments.trials, arguments.horizon, arguments.fresh, arguments.data, arguments.forget)
        for way, seed in plan
    ]
    start = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        found = pool.starmap(search, jobs, chunksize=1)
    print("\n".join(f"- {line}" for line in environment()))
    print(f"- {len(found)} searches in {(time.monotonic() - start) / 60:.1f} minutes, {arguments.processes} at once\n")
    print(show(found, arguments.ways, arguments.trials * arguments.horizon, arguments.fresh))


def search(way: str, seed: int, trials: int, horizon: int, fresh: int, data: str, forget: bool) -> Search:
    """Run one search to its budget of trials × horizon member-steps, and judge its incumbents."""
    torch.set_num_threads(1)
    definition, budget = _definition(way, seed, trials, horizon, data), trials * horizon
    corpus = open_data(data)
    incumbents: list[Incumbent] = []
    start = time.monotonic()
    spent = 0
    with tempfile.TemporaryDirectory() as folder:
        question = create(Path(folder) / "studies.db", definition, corpus)
        if forget:
            _forget_known(question)

        def follow(event: Event) -> None:
            nonlocal spent
            if not isinstance(event, Finished):
                return
            trial = question.study(event.study).get_trials(deepcopy=False)[event.trial]
            spent += int(trial.user_attrs.get(ITERATIONS, 0))
            best = incumbents[-1].believed if incumbents else float("inf")
            if state(trial) == "complete" and trial.value is not None and trial.value < best:
                config = outcome(trial).config
                assert config is not None
                incumbents.append(Incumbent(spent, trial.value, config))

        Worker(question, corpus, 0, 8, report=follow, closing=lambda: spent >= budget).run()
        question.storage.engine.dispose()
    seconds = time.monotonic() - start
    return Search(way, seed, incumbents, [judge(each.config, seed, fresh, data) for each in incumbents], spent, seconds)


def _forget_known(question: Question) -> None:
    """Leave every waiting trial to the sampler."""
    for name, trials in question.trials().items():
        for trial in trials:
            set_system_attr(live(question.study(name), trial), "fixed_params", {})


def judge(config: Mapping[str, Any], seed: int, fresh: int, data: str) -> float:
    """Mean loss of a configuration over fresh seeds, on the confirmation slice; a run that diverged counts at its
    cap."""
    configs = [
        Config.of({**config, "seed": seed + APART + index, "eval_slice": "confirmation"}) for index in range(fresh)
    ]
    trainer = Trainer(configs[0], open_data(data))
    members = [trainer.add(each) for each in configs]
    trainer.step(configs[0].train.max_iters)
    cap = np.log(trainer.corpus.manifest.vocab_size) + configs[0].train.divergence_margin
    losses = trainer.evaluate()
    return fmean(cap if member.event or not losses[member] <= cap else losses[member] for member in members)


def show(found: Sequence[Search], ways: Sequence[str], budget: int, fresh: int) -> str:
    """Quantiles at equal member-steps, and the member-steps that each way needs for random search's final quality."""
    groups = {way: [each for each in found if each.way == way] for way in ways}
    rows = []
    for way, searches in groups.items():
        cells = [_quartiles([each.at(share * budget) for each in searches]) for share in SHARES]
        rows.append([way, *cells, f"{fmean(each.seconds for each in searches):.0f}"])
    heads = ["way", *(f"{share * budget:,.0f} steps" for share in SHARES), "seconds"]
    parts = [table(f"Loss of the incumbent on {fresh} fresh seeds: median of the repeats (25 % … 75 %)", heads, rows)]
    if RANDOM in groups:
        goal = float(np.median([each.at(budget) for each in groups[RANDOM]]))
        steps = sorted({incumbent.steps for each in found for incumbent in each.incumbents})
        rows = []
        for way, searches in groups.items():
            reached = next((at for at in steps if _median([each.at(at) for each in searches]) <= goal), None)
            last = [each.at(budget) for each in searches]
            better = sum(a < b.at(budget) for a, b in zip(last, groups[RANDOM], strict=True))
            share = "–" if reached is None else f"{reached / budget:.2f}"
            rows.append(
                [way, "not reached" if reached is None else f"{reached:,}", share, f"{better} of {len(searches)}"]
            )
        title = f"Member-steps until the median is at random search's final {goal:.4f}"
        parts.append(table(title, ["way", "member-steps", "of random's", "repeats with a better end"], rows))
    return "\n".join(parts)


def _definition(way: str, seed: int, trials: int, horizon: int, data: str) -> StudyDefinition:
    sampler, pruner = WAYS[way]
    # A pruner saves member-steps, which buy more trials: as many wait as the budget could ever pay.
    most = 3 * trials if Pruner.known()[pruner].prunes else trials
    plan = {
        "question": "How soon does a search find good settings?",
        "data": data,
        "base": BASE,
        "space": SPACE,
        "sampler": sampler,
        "pruner": pruner,
        "budget": {"trials": most, "horizon": horizon},
        "seed": seed,
    }
    return define(plan, name="quality")


def _median(values: Sequence[float]) -> float:
    """NaN counts as worse than anything: a search that has nothing yet."""
    return float(np.median([np.inf if np.isnan(value) else value for value in values]))


def _quartiles(values: Sequence[float]) -> str:
    known = [np.inf if np.isnan(value) else value for value in values]
    low, middle, high = (float(np.percentile(known, q, method="inverted_cdf")) for q in (25, 50, 75))
    return "–" if not np.isfinite(middle) else f"{middle:.4f} ({low:.4f} … {high:.4f})"


if __name__ == "__main__":
    main()
