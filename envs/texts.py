"""The texts that trainings are made of, and whether they have enough of everything that an instance needs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

from tunemax.envs.instances import WHOLE, Instance, find_set
from tunemax.envs.task import Task
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus, data_root, open_data
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import shown
from tunemax.gpt.text_config import Text, text_of

REWARD_SLICE, TEST_SLICE = "tuning", "test"


def texts_of(task: Task) -> list[Text]:
    """The texts that trainings of a task may see, each once."""
    drawn = map(str, task.drawn("dataset"))
    names = dict.fromkeys([*drawn, *task.events.get("text", ())])
    return [task.config.train.text.model_copy(update={"dataset": name}) for name in names]


def check_sets(task: Task, sets: Iterable[str]) -> None:
    """Refuse, before anything is trained, a task whose texts are too short for one of these sets.

    Raises TunemaxError also for a set for which the task holds nothing out.
    """
    for name in sets:
        instance = find_set(name).draw(task, 0)
        for text in texts_of(task):
            config = instance.config(task)
            longest = max(config.model.block_size, *map(int, (*task.drawn("block_size"), *task.held_out("block_size"))))
            check_text(
                task, instance, config.replace({"dataset": text.dataset, "block_size": longest}), corpus_of(text)
            )


def check_text(task: Task, instance: Instance, config: Config, corpus: Corpus) -> None:
    """Refuse a text that is too short to train an instance on, or to measure it. config: with this text."""
    train, length = config.train, config.model.block_size
    tokens, needed = round(train.data_end * len(corpus.train)) - round(train.data_start * len(corpus.train)), length + 1
    if tokens < needed:
        part = f"its part of {train.dataset} has {tokens} tokens, and a window needs {needed}"
        raise TunemaxError(f"instance {instance.name}: {part}; take a longer text or a smaller block_size")
    measured = instance.measured
    numbers = isinstance(measured, tuple) and all(type(each) in (int, float) for each in measured)
    if not numbers or len(measured) != 2 or not 0 <= measured[0] < measured[1] <= 1:
        shares = f"measured = {shown(measured)}: expected two shares of a text, the first one below the second"
        raise TunemaxError(f"instance {instance.name}: {shares}, from 0 to 1")
    if measured == WHOLE:  # there, all windows that there are will do
        return
    start, end = measured
    looks = {"windows": (REWARD_SLICE, task.windows), "test_windows": (TEST_SLICE, task.test_windows)}
    for name, (part, wanted) in looks.items():
        there = corpus.count_windows(part, length, start, end)
        if there < wanted:
            of_all = sum(corpus.manifest.token_counts.values()) / len(corpus.slices[part])
            whole = math.ceil((wanted * length + 1) / (end - start) * of_all)
            few = f"{name} = {wanted}: its part of {train.dataset} has {there} of {length} tokens"
            remedy = f"take a text of about {whole:,} tokens, or a smaller block_size"
            raise TunemaxError(f"instance {instance.name}: {few}; {remedy}")


def corpus_of(text: Text | str) -> Corpus:
    """The tokens of a text, opened once a process: environments of one text share them."""
    return _opened(text_of(text), data_root(), _begun_with.get())


@contextlib.contextmanager
def begun_with(fingerprint: str | None) -> Iterator[None]:
    """Inside, a dataset is prepared by the rules that lead to this fingerprint, if any do: what was begun goes on."""
    token = _begun_with.set(fingerprint)
    try:
        yield
    finally:
        _begun_with.reset(token)


_begun_with: ContextVar[str | None] = ContextVar("begun_with", default=None)


@lru_cache(maxsize=8)
def _opened(text: Text, root: Path, fingerprint: str | None) -> Corpus:
    return open_data(text, fingerprint)
