"""Which recipe is calm? An Optuna study of the recipe itself, at one size: how low losses end, how far apart seeds.

    python benchmarks/recipe.py 2x32 --trials 30                   # search; run it twice to use two cores
    python benchmarks/recipe.py 4x64 --trials 10 --from 2x32       # the recipes that were not beaten there come first
    python benchmarks/recipe.py 2x32 --show                        # what was found

A trial is one recipe: warm-up, clip, beta2, schedule, last rate, initial weights. At every size the defaults of before,
three values that were guessed, and the defaults of now are tried, too. Each trains several variants at several rates on
several seeds, all side by side. What it is judged by, both to be low:

loss: of each variant the rate with the lowest mean over seeds; the mean of those.
spread: standard deviation over seeds of each variant at every rate that a search could choose, which are those with a
mean within 2 % of its best; the root of the mean square.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
import torch
from report import table

from tunemax.gpt.config import GAIN, Config
from tunemax.gpt.data import open_data
from tunemax.gpt.defaults import defaults_of
from tunemax.gpt.trainer import Trainer

VARIANTS = ("softmax", "constantmax", "polymax", "strongermax")
NEAR = 1.02
"""Times its best loss: within that a search that sees one seed may choose any rate."""
TOKENS = 32768
TOGETHER = 12
"""Members of a trainer."""
MARGIN = 1.0
"""Nats above even guessing: a diverged training counts as that."""


@dataclass(frozen=True)
class Size:
    """A model, how long it is trained, and at which rates."""

    shape: Mapping[str, int]
    horizon: int
    rates: tuple[float, ...]
    seeds: int


def _size(layers: int, width: int, heads: int, horizon: int, rates: tuple[float, ...], seeds: int) -> Size:
    shape = {"n_layer": layers, "n_embd": width, "n_head": heads, "block_size": 32, "batch_size": 8}
    return Size(shape, horizon, rates, seeds)


SIZES: Mapping[str, Size] = {
    "2x32": _size(2, 32, 2, 500, (0.005, 0.01, 0.02), 3),
    "4x64": _size(4, 64, 4, 300, (0.004, 0.008, 0.016), 3),
    "6x96": _size(6, 96, 6, 250, (0.004, 0.008), 3),
}
PARTS = ("warmup_fraction", "grad_clip", "schedule", "min_lr_ratio")
"""Of a recipe, beside beta2, which is searched as its distance to 1, and the initial weights."""


def recipe(defaults: Mapping[str, Any], width: int) -> dict[str, Any]:
    """A recipe as Optuna knows it. defaults: flat fields."""
    parts = {name: defaults[name] for name in PARTS}
    return {
        **parts,
        "forgetting": round(1 - defaults["beta2"], 6),
        "init_std": defaults["init_std"] or GAIN / math.sqrt(width),
    }


def recipes(width: int) -> dict[str, dict[str, Any]]:
    """Recipes that are tried at every size, by name."""
    now = Config.of({}).flat()
    before = {**now, **defaults_of(2)}
    guessed = {**before, "warmup_fraction": 0.2, "grad_clip": 0.25, "beta2": 0.95}
    return {name: recipe(each, width) for name, each in (("before", before), ("guessed", guessed), ("now", now))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--trials", type=int, default=0, help="recipes to try until there are so many in all")
    parser.add_argument("--from", dest="start", choices=SIZES, help="first the recipes that nothing beat at this size")
    parser.add_argument("--best", type=int, default=6, help="so many of those, at most")
    parser.add_argument("--storage", type=Path, default=Path("runs/recipe.db"))
    parser.add_argument("--data", default="python_stdlib")
    parser.add_argument("--compile", action="store_true", help="faster, and equal to rounding")
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arguments.storage.parent.mkdir(parents=True, exist_ok=True)
    storage = f"sqlite:///{arguments.storage}"
    size, study = SIZES[arguments.size], opened(storage, arguments.size)
    smaller = front(opened(storage, arguments.start))[: arguments.best] if arguments.start else []
    for known in (*recipes(size.shape["n_embd"]).values(), *(trial.params for trial in smaller)):
        if arguments.trials:
            study.enqueue_trial(known, skip_if_exists=True)
    how = {"dataset": arguments.data, "compile": arguments.compile, "device": "cpu"}
    while len(ended(study)) < arguments.trials:
        study.optimize(lambda trial: judged(trial, size, how), n_trials=1)
        last = ended(study)[-1]
        print(f"{arguments.size} recipe {last.number}: {last.values} {last.params}", flush=True)
    if arguments.show or not arguments.trials:
        print(shown(study, size.shape["n_embd"]))


def opened(storage: str, size: str) -> optuna.Study:
    """The study of a size, made if it is not there."""
    name = f"recipe {size}"
    sampler = optuna.samplers.TPESampler(n_startup_trials=8, constant_liar=True)
    return optuna.create_study(
        storage=storage, study_name=name, sampler=sampler, directions=["minimize", "minimize"], load_if_exists=True
    )


def ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))


def front(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The recipes that no other beats in both, the lowest loss plus spread first."""
    return sorted(study.best_trials, key=lambda trial: sum(trial.values))


def recipe_of(trial: optuna.Trial) -> dict[str, Any]:
    """The fields of the recipe of a trial."""
    forgetting = trial.suggest_float("forgetting", 0.002, 0.15, log=True)  # 1 - beta2
    return {
        "warmup_fraction": trial.suggest_float("warmup_fraction", 0.0, 0.4),
        "grad_clip": trial.suggest_float("grad_clip", 0.05, 2.0, log=True),
        "beta2": 1 - forgetting,
        "schedule": trial.suggest_categorical("schedule", ["cosine", "linear", "wsd"]),
        "min_lr_ratio": trial.suggest_float("min_lr_ratio", 0.0, 0.2),
        "init_std": trial.suggest_float("init_std", 0.01, 0.3, log=True),
    }


def judged(trial: optuna.Trial, size: Size, how: Mapping[str, Any]) -> tuple[float, float]:
    """Loss and spread of a recipe. how: where it is trained, and on what."""
    start = time.process_time()
    losses = trained({**recipe_of(trial), **how}, size)  # (variants, rates, seeds)
    means = losses.mean(axis=2)
    best = means.min(axis=1)
    chosen = means <= NEAR * best[:, None]
    trial.set_user_attr("losses", losses.round(4).tolist())
    trial.set_user_attr("best rates", [size.rates[place] for place in means.argmin(axis=1)])
    trial.set_user_attr("seconds", time.process_time() - start)
    return float(best.mean()), math.sqrt(float(losses.var(axis=2, ddof=1)[chosen].mean()))


def trained(fields: Mapping[str, Any], size: Size) -> npt.NDArray[np.float64]:
    """Validation losses at the horizon, (variants, rates, seeds); a diverged one counts as the cap."""
    common = {**size.shape, **fields, "max_iters": size.horizon, "eval_tokens": TOKENS}
    corpus = open_data(fields["dataset"])
    configs = [
        Config.of({**common, "softmax_variant": variant, "learning_rate": rate, "seed": seed})
        for variant, rate, seed in itertools.product(VARIANTS, size.rates, range(1, size.seeds + 1))
    ]
    found: dict[int, float] = {}
    for start in range(0, len(configs), TOGETHER):
        trainer = Trainer(configs[start], corpus)
        members = [trainer.add(config) for config in configs[start : start + TOGETHER]]
        trainer.step(size.horizon)
        losses = trainer.evaluate()
        found.update({start + place: losses[member] for place, member in enumerate(members)})
    cap = math.log(corpus.manifest.vocab_size) + MARGIN
    capped = [found[place] if found[place] < cap else cap for place in range(len(configs))]  # a NaN is not below it
    return np.array(capped).reshape(len(VARIANTS), len(size.rates), size.seeds)


def shown(study: optuna.Study, width: int) -> str:
    """All recipes, the lowest loss first; a star before those that no other beats in both."""
    best = {trial.number for trial in study.best_trials}
    named = {frozenset(known.items()): name for name, known in recipes(width).items()}
    rows = []
    for trial in sorted(ended(study), key=lambda trial: trial.values[0]):
        params = {**trial.params}
        params["beta2"] = 1 - params.pop("forgetting")
        losses = np.array(trial.user_attrs["losses"])
        high = float((losses - np.median(losses, axis=2, keepdims=True) > 0.05).mean())
        rates = "/".join(f"{rate:g}" for rate in trial.user_attrs["best rates"])
        loss, spread = (f"{value:.4f}" for value in trial.values)
        fields = [
            f"{params[name]:.3g}" for name in ("warmup_fraction", "grad_clip", "beta2", "min_lr_ratio", "init_std")
        ]
        star = "*" if trial.number in best else ""
        name = named.get(frozenset(trial.params.items()), "")
        rows.append(
            [f"{star}{trial.number} {name}".rstrip(), loss, spread, f"{high:.0%}", params["schedule"], *fields, rates]
        )
    heads = ["recipe", "loss", "spread", "0.05 high", "schedule", "warm-up", "clip", "β₂", "last rate", "std", "rates"]
    return table(study.study_name, heads, rows)


if __name__ == "__main__":
    main()
