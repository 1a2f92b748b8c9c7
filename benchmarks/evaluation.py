"""How many tokens an evaluation needs, and what it costs: the noise of a difference, and the share of a study's time.

Noise: members that differ a little are trained side by side, and each is evaluated on the whole tuning slice. The
standard error of the difference of two of them on n spans of text is the standard deviation of the difference of a
span over √n. Cost: for each study file, CPU time of all its evaluations over that of its training, at its own sizes.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from report import table

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.evaluation import LOOK, SPAN
from tunemax.gpt.trainer import Trainer
from tunemax.search.question.packaged import asked_by, packaged
from tunemax.search.question.study_file import load_study_file

SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 32, "batch_size": 8, "learning_rate": 0.01}
NEAR: Mapping[str, Mapping[str, Any]] = {
    "rate 0.01": {},
    "rate 0.012": {"learning_rate": 0.012},
    "decay 0.2": {"weight_decay": 0.2},
    "seed 2": {"seed": 2},
    "constantmax": {"softmax_variant": "constantmax"},
}
"""Members by what is different in them."""
SIZES = (4096, 5120, 16384, 32768, 65536, 81920, 131072)
MEMBERS = 4
"""Trained side by side where time is taken."""
WIDEST = 128
"""Width of a model whose time is taken; larger ones are for a GPU."""


def noise(corpus: Corpus, data: str, horizon: int) -> str:
    """The standard error of each pair's difference, by the tokens of the evaluation."""
    common = {**SHAPE, "dataset": data, "max_iters": horizon}
    configs = {name: Config.of({**common, **own}) for name, own in NEAR.items()}
    trainer = Trainer(configs["rate 0.01"], corpus)
    members = {name: trainer.add(config) for name, config in configs.items()}
    trainer.step(horizon)
    losses = dict(zip(members, _span_losses(trainer, list(members.values())), strict=True))
    rows = []
    for one, other in itertools.combinations(losses, 2):
        difference = losses[one] - losses[other]
        spread = float(difference.std(ddof=1))
        errors = [f"{spread / math.sqrt(tokens // SPAN):.4f}" for tokens in SIZES]
        rows.append([f"{one} - {other}", f"{difference.mean():+.4f}", *errors])
    heads = ["pair", "difference", *(f"{tokens:,}" for tokens in SIZES)]
    slice = len(corpus.slices["tuning"])
    title = f"Standard error of a difference in nats a token, by tokens ({horizon:,} iterations, slice of {slice:,})"
    return table(title, heads, rows)


def _span_losses(trainer: Trainer, members: list[Any]) -> list[npt.NDArray[np.float64]]:
    """Mean loss of each span of the tuning slice, an array a member."""
    context = trainer.model.block_size
    windows = trainer.corpus.windows("tuning", context, 0)
    losses = np.concatenate([found for found, _ in trainer.passes(members, windows)], axis=1)  # (K, windows)
    whole = losses.shape[1] * context // SPAN
    return list(losses[:, : whole * SPAN // context].reshape(len(members), whole, -1).mean(-1))


def cost(names: Sequence[str], repeats: int) -> str:
    """What evaluations take of each study's training."""
    rows = []
    for name in names:
        definition = load_study_file(packaged()[name])
        config = Config.of(next(iter(definition.siblings().values())))
        if config.model.n_embd > WIDEST:
            continue
        trainer = Trainer(config, open_data(config.train.dataset))
        members = [trainer.add(config.replace({"seed": seed})) for seed in range(MEMBERS)]
        trainer.step(3)
        trainer.look(members)
        iteration = min(_seconds(lambda: trainer.step(10)) for _ in range(repeats)) / 10  # noqa: B023 - called at once
        look = min(_seconds(lambda: trainer.look(members)) for _ in range(repeats))  # noqa: B023
        for member in members:
            member.iteration = config.train.max_iters
        final = _seconds(trainer.evaluate)
        looks = (definition.budget.horizon - 1) // config.train.eval_interval
        share = (looks * look + final) / (definition.budget.horizon * iteration)
        tokens = f"{config.train.eval_tokens:,}"
        rows.append([name, f"{definition.budget.horizon:,}", tokens, str(looks), f"{100 * share:.1f} %"])
    return table(
        f"Time of all evaluations, as a share of the training's (looks take a {LOOK}th)",
        ["study", "iterations", "eval_tokens", "looks", "share"],
        rows,
    )


def _seconds(action: Any) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="python_stdlib", help="dataset, as in a study file")
    parser.add_argument("--horizon", type=int, default=1200, help="iterations of the members whose noise is measured")
    parser.add_argument("--repeats", type=int, default=3, help="of each time, of which the least counts")
    parser.add_argument("--quick", action="store_true", help="a short training, one study; figures mean nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name, file in packaged().items() if not asked_by(file)[1]]
    if args.quick:
        args.horizon, args.repeats, names = 20, 1, names[:1]
    print(noise(open_data(args.data), args.data, args.horizon))
    print(cost(names, args.repeats))


if __name__ == "__main__":
    main()
