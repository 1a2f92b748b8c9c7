"""Whether a text has enough of everything that an instance needs of it."""

from __future__ import annotations

import math

from tunemax.envs.instances import WHOLE, Instance
from tunemax.envs.task import Task
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError

REWARD_SLICE, TEST_SLICE = "tuning", "test"


def check_text(task: Task, instance: Instance, config: Config, corpus: Corpus) -> None:
    """Refuse a text that is too short to train an instance on, or to measure it. config: with this text."""
    train, length = config.train, config.model.block_size
    tokens, needed = round(train.data_end * len(corpus.train)) - round(train.data_start * len(corpus.train)), length + 1
    if tokens < needed:
        part = f"its part of {train.dataset} has {tokens} tokens, and a window needs {needed}"
        raise TunemaxError(f"instance {instance.name}: {part}; take a longer text or a smaller block_size")
    start, end = instance.measured
    if not 0 <= start < end <= 1:
        shares = f"measured = {start:g}, {end:g}: expected two shares of a text, the first one below the second"
        raise TunemaxError(f"instance {instance.name}: {shares}, from 0 to 1")
    if instance.measured == WHOLE:  # there, all windows that there are will do
        return
    for name, part, wanted in (
        ("windows", REWARD_SLICE, task.windows),
        ("test_windows", TEST_SLICE, task.test_windows),
    ):
        there = corpus.count_windows(part, length, start, end)
        if there < wanted:
            of_all = sum(corpus.manifest.token_counts.values()) / len(corpus.slices[part])
            whole = math.ceil((wanted * length + 1) / (end - start) * of_all)
            few = f"{name} = {wanted}: its part of {train.dataset} has {there} of {length} tokens"
            remedy = f"take a text of about {whole:,} tokens, fewer {name} or a smaller block_size"
            raise TunemaxError(f"instance {instance.name}: {few}; {remedy}")
