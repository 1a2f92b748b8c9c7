"""Trials an hour of a whole pruned study: tunemax in its ways, beside a plain loop under plain Optuna in two processes.

    python benchmarks/study.py                    # three rounds of small models
    python benchmarks/study.py --shapes S0 S1     # larger models too
    python benchmarks/study.py --quick            # seconds: only to see that it works

Every contender runs the same study from its command to its end: the same space, horizon, evaluations, sampler and
pruner, and as many trials, of which tunemax trains the settings that it knows first. All take turns in every round, and
a ratio is taken within a round. A faster way that keeps worse trials would be no better, so the best loss of each study
stands beside it. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import torch
import yaml
from members import SHAPES
from optuna.trial import FrozenTrial, TrialState
from plain import PlainLoop
from report import environment, spread, table

from tunemax.gpt.config import Config
from tunemax.gpt.data import open_data
from tunemax.search.question.study_file import define
from tunemax.search.question.suggest import suggest
from tunemax.search.storage.attributes import ITERATIONS

PROCESSES = 2


@dataclass
class Result:
    """A study that has ended: seconds from its command on, its best loss, how many trials were pruned, iterations
    trained."""

    seconds: float
    before: float
    """Seconds of them before the first trial began."""
    busy: float
    """Share of slot time with a trial in it, from the first trial's start to the last one's: as long as there was one
    to take."""
    best: float
    pruned: int
    iterations: int


@dataclass
class Contender:
    name: str
    run: Callable[[dict[str, Any], Path], Result]
    results: list[Result] = field(default_factory=list)


def main() -> None:
    args = _arguments()
    print(*environment(), "", sep="\n", flush=True)
    open_data(args.data)  # prepared once, before anybody's clock runs
    for shape in args.shapes:
        contenders = [
            Contender("plain loop, plain Optuna", plain),
            Contender("tunemax, one slot", lambda study, folder: tunemax(study, folder, 1)),
            Contender(f"tunemax, {args.slots} slots", lambda study, folder: tunemax(study, folder, args.slots)),
            Contender(
                f"tunemax, {args.slots} slots, compiled",
                lambda study, folder: tunemax(compiled(study), folder, args.slots),
            ),
            Contender(
                f"tunemax, {args.slots} slots, compiled, asha",
                lambda study, folder: tunemax(asha(compiled(study)), folder, args.slots),
            ),
        ]
        contenders = contenders[:-2] if args.quick else contenders  # to compile takes half a minute
        for round_ in range(args.rounds):
            for contender in contenders:
                with tempfile.TemporaryDirectory() as folder:
                    contender.results.append(contender.run(study_file(args, shape, seed=round_), Path(folder)))
        print(_show(shape, contenders, args), flush=True)


def study_file(args: argparse.Namespace, shape: str, seed: int) -> dict[str, Any]:
    """The study as a study file has it."""
    return {
        "question": "How many trials an hour?",
        "data": args.data,
        "base": {
            **SHAPES[shape],
            "eval_interval": args.horizon // 10,
            "eval_by": "windows",  # which the plain loop knows too
            "eval_iters": args.eval_iters,
            "device": "cpu",
            "compile": False,
        },
        "space": {
            "learning_rate": {"low": 3e-4, "high": 3e-2, "log": True},
            "weight_decay": "default",
            "beta2": "default",
        },
        "sampler": "tpe",
        "pruner": "median",
        "seed": seed,
        "budget": {"trials": args.trials, "horizon": args.horizon},
        "workers": PROCESSES,
    }


def compiled(study: dict[str, Any]) -> dict[str, Any]:
    """The same with compiled functions.

    The first study of a machine compiles them, later ones find them in the cache.
    """
    return {**study, "base": {**study["base"], "compile": True}}


def asha(study: dict[str, Any]) -> dict[str, Any]:
    """The same with the pruner that suits many trials at once: it compares those that have come as far, not those that
    have ended."""
    return {**study, "pruner": "asha"}


def tunemax(study: dict[str, Any], folder: Path, slots: int) -> Result:
    """As a user would: a study file, and one command."""
    path, storage = folder / "speed.yaml", folder / "speed.db"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    command = [
        str(Path(sys.executable).with_name("tunemax")),
        "study",
        "run",
        str(path),
        "--slots",
        str(slots),
        "--storage",
        str(storage),
    ]
    start, began = time.perf_counter(), datetime.now()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    trials = [trial for name in optuna.get_all_study_names(f"sqlite:///{storage}") for trial in _trials(storage, name)]
    return _result(seconds, began, PROCESSES * slots, trials, lambda trial: int(trial.user_attrs[ITERATIONS]))


def plain(study: dict[str, Any], folder: Path) -> Result:
    """As people do today: `optimize` in two processes on one SQLite file."""
    storage = folder / "plain.db"
    start, began = time.perf_counter(), datetime.now()
    optuna.create_study(storage=f"sqlite:///{storage}", study_name="plain")
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_optimize, args=(json.dumps(study), str(storage), number)) for number in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise RuntimeError(f"a plain worker ended with {worker.exitcode}")
    seconds = time.perf_counter() - start
    return _result(seconds, began, PROCESSES, _trials(storage, "plain"), lambda trial: trial.last_step or 0)


def _optimize(told: str, storage: str, number: int) -> None:
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    definition = define(json.loads(told), name="plain")
    sampler = optuna.samplers.TPESampler(seed=1000 * definition.seed + number)
    pruner = definition.pruner.make(definition.budget.steps)
    study = optuna.load_study(storage=f"sqlite:///{storage}", study_name="plain", sampler=sampler, pruner=pruner)
    (fixed,) = definition.siblings().values()
    corpus, share = open_data(definition.data), definition.budget.trials // PROCESSES

    def objective(trial: optuna.Trial) -> float:
        config = Config.of(suggest(trial, definition, fixed))
        loop, train = PlainLoop(config, corpus), config.train
        windows = corpus.windows("tuning", config.model.block_size, train.eval_iters * train.batch_size)
        loss = float("nan")
        for done in range(train.eval_interval, train.max_iters + 1, train.eval_interval):
            loop.step(train.eval_interval)
            loss = loop.evaluate(windows)
            trial.report(loss, done)
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss

    study.optimize(objective, n_trials=share)


def _trials(storage: Path, name: str) -> list[FrozenTrial]:
    return optuna.load_study(storage=f"sqlite:///{storage}", study_name=name).trials


def _result(
    seconds: float, began: datetime, slots: int, trials: Sequence[FrozenTrial], iterations: Callable[[FrozenTrial], int]
) -> Result:
    ended = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    best = min(trial.value for trial in ended if trial.state == TrialState.COMPLETE and trial.value is not None)
    times = [
        (trial.datetime_start, trial.datetime_complete)
        for trial in ended
        if trial.datetime_start and trial.datetime_complete
    ]
    first, last = min(start for start, _ in times), max(start for start, _ in times)
    taken = sum((min(end, last) - start).total_seconds() for start, end in times)
    busy = taken / (slots * (last - first).total_seconds()) if last > first else 1.0
    pruned = sum(trial.state == TrialState.PRUNED for trial in ended)
    return Result(seconds, (first - began).total_seconds(), busy, best, pruned, sum(map(iterations, ended)))


def _show(shape: str, contenders: list[Contender], args: argparse.Namespace) -> str:
    base = contenders[0].results

    def row(contender: Contender) -> list[str]:
        results = contender.results
        return [
            contender.name,
            spread([result.seconds for result in results], 1),
            spread([3600 * args.trials / result.seconds for result in results], 0),
            spread([other.seconds / own.seconds for own, other in zip(results, base, strict=True)], 2),
            spread([result.before for result in results], 1),
            spread([100 * result.busy for result in results], 0),
            spread([result.best for result in results], 3),
            spread([result.pruned for result in results], 0),
            spread([result.iterations for result in results], 0),
        ]

    size: Mapping[str, Any] = SHAPES[shape]
    title = (
        f"{shape}: {size['n_layer']} layers x {size['n_embd']}, {args.trials} trials of {args.horizon} iterations, "
        f"{PROCESSES} processes"
    )
    header = [
        "",
        "seconds",
        "trials an hour",
        "to plain",
        "before the first",
        "slots busy, %",
        "best loss",
        "pruned",
        "iterations",
    ]
    return table(title, header, [row(contender) for contender in contenders])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["S0"])
    parser.add_argument("--slots", type=int, default=8, help="members that a process of ours trains at once")
    parser.add_argument("--trials", type=int, default=60, help="of each study")
    parser.add_argument("--horizon", type=int, default=600, help="iterations of a trial; it is evaluated ten times")
    parser.add_argument("--eval-iters", type=int, default=20, help="batches of an evaluation")
    parser.add_argument("--rounds", type=int, default=3, help="in each of which every contender has its turn")
    parser.add_argument("--data", default="python_stdlib", help="dataset, as in a study file")
    parser.add_argument("--quick", action="store_true", help="one round of a small study; figures mean nothing")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.trials, args.horizon, args.eval_iters = 1, 4, 20, 1  # too few trials for the pruner to begin
    return args


if __name__ == "__main__":
    main()
