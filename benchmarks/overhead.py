"""What a trial costs beside its training: a whole worker on a SQLite study, minus the time inside step and evaluate.

Everything that a worker of `study run` does is in it: TensorBoard, trajectories, artifacts and snapshots too.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import optuna
import sqlalchemy
from optuna.samplers import GPSampler, RandomSampler, TPESampler
from report import table

import tunemax.search.storage.queue
import tunemax.search.workers.trial
import tunemax.search.workers.worker
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.trainer import Trainer
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.study_file import define
from tunemax.search.storage.questions import create
from tunemax.search.workers.artifacts import Artifacts
from tunemax.search.workers.learnables import Trajectories
from tunemax.search.workers.loggers import TrialLoggers
from tunemax.search.workers.snapshots import Snapshots
from tunemax.search.workers.worker import Watcher, Worker

REPORTS, INTERVAL = 10, 2
"""Of each trial: how many reports, and how many iterations lie between two."""

TRAINING = "training"
REST = "rest"
"""What no span below covers: the worker's own loop, the making of samplers, configurations."""

_BASE = {
    "n_layer": 1,
    "n_head": 1,
    "n_embd": 8,
    "block_size": 8,
    "batch_size": 1,
    "eval_interval": INTERVAL,
    "eval_iters": 1,
    "device": "cpu",
}
_SPACE = dict.fromkeys(("learning_rate", "weight_decay", "beta1", "beta2", "grad_clip", "min_lr_ratio"), "default")

WATCHING = ("started", "evaluated", "ending")
SPANS: tuple[tuple[str, object, str], ...] = (
    (TRAINING, Trainer, "step"),
    (TRAINING, Trainer, "evaluate"),
    ("slot", Trainer, "add"),
    ("slot", Trainer, "remove"),
    ("claim", tunemax.search.workers.worker, "claim"),
    ("suggest", tunemax.search.workers.trial, "suggest"),
    *(
        ("sampler", cls, name)
        for cls in (RandomSampler, TPESampler, GPSampler)
        for name in ("sample_relative", "sample_independent")
    ),
    ("configure", Config, "of"),
    ("duplicate?", tunemax.search.workers.worker, "trained_before"),
    ("report", tunemax.search.workers.worker, "report"),
    ("prune?", optuna.Trial, "should_prune"),
    ("record", optuna.Trial, "set_user_attr"),
    ("tell", tunemax.search.workers.worker, "finish"),
    *(("tensorboard", TrialLoggers, name) for name in WATCHING),
    *(("trajectory", Trajectories, name) for name in WATCHING),
    *(("artifacts", Artifacts, name) for name in WATCHING),
    *(("snapshot", Snapshots, name) for name in ("save", "member", "remove")),
)
"""What is timed: its label, where it is looked up when it is called, and its name there."""
LABELS = tuple(dict.fromkeys(label for label, _, _ in SPANS if label != TRAINING))


@dataclass
class Clock:
    """Time and SQL statements by label. A span inside another one counts for itself alone, so the labels add up."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    statements: Counter[str] = field(default_factory=Counter)
    _open: list[str] = field(default_factory=lambda: [REST])
    _since: float = field(default_factory=time.perf_counter)

    def switch(self) -> None:
        """Book the time since the last switch on the innermost span."""
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def timed(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def span(*args: Any, **kwargs: Any) -> Any:
            self.switch()
            self._open.append(label)
            try:
                return function(*args, **kwargs)
            finally:
                self.switch()
                self._open.pop()

        return span

    @contextlib.contextmanager
    def watching(self, engine: sqlalchemy.Engine) -> Iterator[None]:
        """Time every span and count the statements that reach the database, until the end of the block."""

        def count(*_: Any) -> None:
            self.statements[self._open[-1]] += 1

        with contextlib.ExitStack() as stack:
            for label, owner, name in SPANS:
                stack.enter_context(mock.patch.object(owner, name, self.timed(label, getattr(owner, name))))
            sqlalchemy.event.listen(engine, "before_cursor_execute", count)
            stack.callback(sqlalchemy.event.remove, engine, "before_cursor_execute", count)
            self._since = time.perf_counter()
            yield
            self.switch()


@dataclass(frozen=True)
class Cost:
    """What one worker spent on a study."""

    sampler: str
    pruner: str
    trials: int
    clock: Clock

    @property
    def overhead(self) -> float:
        """Seconds a trial, of everything that is not training."""
        return (sum(self.clock.seconds.values()) - self.clock.seconds[TRAINING]) / self.trials


def measure(corpus: Corpus, dataset: str, sampler: str, pruner: str, trials: int, slots: int) -> Cost:
    """Run one worker in this process until its study, in a folder of its own, is finished."""
    definition = _definition(dataset, sampler, pruner, trials, slots)
    with tempfile.TemporaryDirectory() as folder:
        question = create(Path(folder) / "studies.db", definition, corpus)
        engine = question.storage.engine
        clock = Clock()
        with clock.watching(engine):
            url = question.storage.url
            watchers: list[Watcher] = [TrialLoggers(question, print), Trajectories(url), Artifacts(url, note=print)]
            Worker(question, corpus, 0, slots, report=lambda event: None, watchers=watchers).run()
        finished = sum(trial.state.is_finished() for trial in question.trials()["overhead"])
        engine.dispose()
    if finished != trials:
        raise RuntimeError(f"{finished} of {trials} trials are finished: the figures would mean nothing")
    return Cost(sampler, pruner, trials, clock)


def show(rows: Sequence[Sequence[Cost]], slots: int) -> str:
    """Both tables; a row holds the repeats of one case, of which the one with the median overhead is shown."""
    costs = [sorted(repeats, key=lambda cost: cost.overhead)[len(repeats) // 2] for repeats in rows]
    names = [f"{cost.sampler}, {cost.pruner}, {cost.trials} trials" for cost in costs]
    parts = (*LABELS, REST)
    times = [
        [
            name,
            f"{1e3 * cost.overhead:.1f}",
            f"{1e3 * min(c.overhead for c in repeats):.1f}-{1e3 * max(c.overhead for c in repeats):.1f}",
            *(f"{1e3 * cost.clock.seconds[part] / cost.trials:.2f}" for part in parts),
        ]
        for name, cost, repeats in zip(names, costs, rows, strict=True)
    ]
    counts = [
        [
            name,
            f"{cost.clock.statements.total() / cost.trials:.1f}",
            *(f"{cost.clock.statements[part] / cost.trials:.1f}" for part in parts),
        ]
        for name, cost in zip(names, costs, strict=True)
    ]
    case = f"{REPORTS} reports a trial, {len(_SPACE)} parameters, {slots} slots, one worker"
    return "\n".join(
        [
            table(f"Overhead of a trial in ms ({case})", ["sampler, pruner", "all", "min-max", *parts], times),
            table("SQL statements of a trial", ["sampler, pruner", "all", *parts], counts),
        ]
    )


def _definition(dataset: str, sampler: str, pruner: str, trials: int, slots: int) -> StudyDefinition:
    return define(
        {
            "question": "What does a trial cost beside its training?",
            "data": dataset,
            "base": _BASE,
            "space": _SPACE,
            "sampler": sampler,
            "pruner": pruner,
            "budget": {"trials": trials, "horizon": REPORTS * INTERVAL},
            "slots": slots,
        },
        name="overhead",
    )
