"""How many iterations a budget of seconds is: measured once for each shape, by training it alone, and recorded.

In a stack, or beside other processes, a member's own time cannot be told. So the first worker that takes a trial of
some shape trains a member of it by itself for a moment, and writes what an iteration took on the trial. Whoever takes
this trial again, or another trial of the shape, on whatever machine, goes by that number: trials of one shape have the
same iterations, and equal settings stay one and the same trial.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial

import optuna
import torch

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.data import Corpus
from tunemax.gpt.trainer import Trainer
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage import attributes
from tunemax.search.storage.questions import alone
from tunemax.search.storage.trials import database, record, recorded

WARM, BURSTS = 3, 7
"""Iterations before anything is measured, and measurements, of which the fastest counts: what else the machine does can
only make one slower."""
BURST = 0.05
"""Seconds of a measurement, at least one iteration."""


def step_seconds(trial: optuna.Trial, config: Config, definition: StudyDefinition, corpus: Corpus) -> float:
    """Seconds of an iteration of a trial's shape: as recorded, else measured here. Recorded on the trial.

    Raises UpdateFinishedTrialError if somebody else has finished the trial.
    """
    shape = _shape(config)
    with alone(database(trial.study)):  # two that measure at once would slow each other down, and come to two numbers
        found = recorded(trial, definition.siblings(), attributes.PACE)
        known = next((pace["seconds"] for pace in found if pace["shape"] == shape), None)
        seconds = measured(config, corpus) if known is None else float(known)
        record(trial, attributes.PACE, {"shape": shape, "seconds": seconds})
    return seconds


def measured(config: Config, corpus: Corpus) -> float:
    """Seconds of an iteration, trained alone and warm, without evaluations, with its share of what is written."""
    plain = config.replace({"feedback_share": 0.0})
    trainer = Trainer(plain, corpus)
    trainer.add(plain)
    trainer.step(WARM)
    one = _seconds(trainer, partial(trainer.step, 1))
    count = max(1, round(BURST / one))
    seconds = min(_seconds(trainer, partial(trainer.step, count)) / count for _ in range(BURSTS))
    if not config.feedback.feedback_share:
        return seconds
    member = trainer.add(config)
    writing = min(_seconds(trainer, partial(trainer.write, [member])) for _ in range(WARM))
    return seconds + writing / config.feedback.feedback_every


def _seconds(trainer: Trainer, work: Callable[[], None]) -> float:
    """What some work takes. A single thread has a clock of its own, which stands while others have its core."""
    single = trainer.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if single else time.perf_counter
    start = clock()
    work()
    return max(clock() - start, 1e-9)


def _shape(config: Config) -> str:
    """Equal for configurations whose iterations take the same time: shapes, kernels, the variant's code path, whether
    anything is dropped, and what is written meanwhile. The device is not in it, nor whether it is compiled, which
    differ between machines."""
    specs, own = all_specs(), config.feedback
    named = {name: value for name, value in config.bucket if specs[name].declared.identity}
    parts: tuple[object, ...] = (sorted(named.items()), config.softmax.code_path, config.model.dropout > 0)
    if own.feedback_share:
        parts += (own.feedback_every, own.feedback_pool, own.prompt(config.model.block_size), own.feedback_filter)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
