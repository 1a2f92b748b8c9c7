"""A tiny corpus made of a real text file, and configurations small enough to train in milliseconds."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.snapshot import Snapshot

WORDS = ["the", "weights", "of", "a", "row", "need", "no", "maximum", "when", "two", "constants", "stand", "for", "it"]


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 kB of words in a random order: there is something to learn in a few steps."""
    draw = random.Random(1)
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(" ".join(draw.choice(WORDS) for _ in range(8000)))
    return path


@pytest.fixture(scope="session")
def corpus(text: Path, data_folder: Path) -> Corpus:
    return open_data(str(text))


@pytest.fixture(scope="session")
def small(text: Path) -> Callable[..., Config]:
    """A configuration of a tiny model on the tiny corpus; keywords change it, `constantmax__beta` stands for
    `constantmax.beta`."""
    base = {
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 16,
        "block_size": 16,
        "batch_size": 4,
        "max_iters": 40,
        "eval_iters": 4,
    }

    def make(**fields: Any) -> Config:
        return Config.of(
            {"dataset": str(text), **base, **{name.replace("__", "."): value for name, value in fields.items()}}
        )

    return make


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Snapshot, Snapshot], None]:
    """Bit for bit the same member: iteration, weights and moments."""

    def check(one: Snapshot, other: Snapshot) -> None:
        assert one.iteration == other.iteration
        assert one.tensors.keys() == other.tensors.keys()
        different = [name for name in one.tensors if not torch.equal(one.tensors[name], other.tensors[name])]
        assert not different

    return check
