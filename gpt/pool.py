"""Trainers by bucket: whoever trains members of several shapes gives each to the trainer that can stack it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.text_config import Text
from tunemax.gpt.trainer import Member, Trainer


class Pool:
    """One trainer for each bucket and text, made when the first of its members comes. Iterated, it gives all.

    data: opens a text; asked once for each.
    """

    def __init__(self, data: Callable[[Text], Corpus] = open_data) -> None:
        self._data = cache(data)
        self._trainers: dict[tuple[Any, ...], Trainer] = {}

    def __iter__(self) -> Iterator[Trainer]:
        return iter(list(self._trainers.values()))

    def trainer(self, config: Config) -> Trainer:
        """The trainer of all members that can be stacked with this one. Raises TunemaxError as `Trainer` does."""
        text = config.train.text
        key = (text, config.bucket)
        if key not in self._trainers:
            self._trainers[key] = Trainer(config, self._data(text))
        return self._trainers[key]

    def add(self, config: Config) -> tuple[Trainer, Member]:
        """A new member at its initial weights, in its trainer."""
        trainer = self.trainer(config)
        return trainer, trainer.add(config)

    def drop_empty(self) -> None:
        """Forget the trainers that have no members, and the memory that they hold."""
        self._trainers = {key: trainer for key, trainer in self._trainers.items() if trainer.members}
