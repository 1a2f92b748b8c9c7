"""A tiny text, and configurations small enough to train in milliseconds."""

from __future__ import annotations

import random
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus, load, prepare
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.trainer import Member, Trainer

WORDS = ["the", "weights", "of", "a", "row", "need", "no", "maximum", "when", "two", "constants", "stand", "for", "it"]
SMALL: dict[str, Any] = {
    "n_layer": 2,
    "n_head": 2,
    "n_embd": 16,
    "block_size": 16,
    "batch_size": 4,
    "max_iters": 40,
    "eval_tokens": 512,
}


@cache
def corpus() -> Corpus:
    """40 kB of words in a random order: there is something to learn in a few steps."""
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:  # what is mapped into memory stays when its name is gone
        text = Path(folder) / "words.txt"
        text.write_text(" ".join(draw.choice(WORDS) for _ in range(8000)))
        return load(prepare(str(text), Path(folder) / "data"))


def small(**fields: Any) -> Config:
    """A tiny model; keywords change it, `constantmax__beta` stands for `constantmax.beta`."""
    return Config.of({**SMALL, **{name.replace("__", "."): value for name, value in fields.items()}})


def trained(config: Config, steps: int, dtype: torch.dtype = torch.float32) -> tuple[Trainer, Member]:
    """One member by itself."""
    trainer = Trainer(config, corpus(), dtype)
    member = trainer.add(config)
    trainer.step(steps)
    return trainer, member


def assert_same(one: Snapshot, other: Snapshot) -> None:
    """Bit for bit the same member: iteration, weights and moments."""
    assert one.iteration == other.iteration
    assert one.tensors.keys() == other.tensors.keys()
    different = [name for name in one.tensors if not torch.equal(one.tensors[name], other.tensors[name])]
    assert not different, different
