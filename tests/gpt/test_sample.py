"""Sampling: repeatable, within the context, and without a trace in the training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.sample import generate
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.trainer import Member, Trainer

Small = Callable[..., Config]


@pytest.fixture(scope="module")
def trained(small: Small, corpus: Corpus) -> tuple[Trainer, Member]:
    """A member that has learned some of the words, between two others of other variants."""
    config = small(softmax_variant="constantmax", learning_rate=1e-2, max_iters=150)
    trainer = Trainer(config, corpus)
    trainer.add(small(softmax_variant="polymax"))
    member = trainer.add(config)
    trainer.add(config.replace({"seed": 2}))
    trainer.step(150)
    return trainer, member


def test_a_seed_decides_what_is_drawn(trained: tuple[Trainer, Member]) -> None:
    one, again, other = (generate(*trained, [32], 40, count=3, seed=seed) for seed in (1, 1, 2))
    assert one.shape == (3, 40)
    assert (one == again).all()
    assert (one != other).any()
    assert (one[0] != one[1]).any(), "the continuations are drawn one by one"


def test_a_member_says_what_it_has_learned_and_not_what_its_neighbours_have(
    trained: tuple[Trainer, Member], corpus: Corpus
) -> None:
    trainer, member = trained
    written = generate(trainer, member, corpus.encode("the "), 80, temperature=0.5)
    assert set(written.flat) <= set(corpus.train[:5000].tolist()), "only letters of its text, after so little training"
    strangers = Trainer(member.config, corpus)
    assert not set(generate(strangers, strangers.add(member.config), [32], 80).flat) <= set(
        corpus.train[:5000].tolist()
    )
    alone = Trainer(member.config, corpus)
    moved = alone.restore(trainer.snapshot(member))
    assert (generate(alone, moved, [32], 30, count=2) == generate(trainer, member, [32], 30, count=2)).all()


def test_what_lies_before_the_context_does_not_matter(trained: tuple[Trainer, Member]) -> None:
    trainer, member = trained
    last = list(range(97, 97 + trainer.model.block_size))
    assert (generate(trainer, member, last, 20) == generate(trainer, member, [32] * 50 + last, 20)).all()
    assert len(generate(trainer, member, last[:1], 3 * trainer.model.block_size)[0]) == 3 * trainer.model.block_size


def test_a_high_temperature_is_wilder_than_a_low_one(trained: tuple[Trainer, Member]) -> None:
    kinds = [
        len(np.unique(generate(*trained, [32], 60, count=4, temperature=temperature))) for temperature in (0, 0.5, 5)
    ]
    assert kinds[0] <= kinds[1] < kinds[2]
    assert (generate(*trained, [32], 20, temperature=0) == generate(*trained, [32], 20, temperature=0, seed=9)).all()


def test_training_goes_on_as_if_nothing_had_been_drawn(
    small: Small, corpus: Corpus, assert_same: Callable[[Snapshot, Snapshot], None]
) -> None:
    ends = []
    for sampled in (False, True):
        trainer = Trainer(small(dropout=0.1), corpus)
        member = trainer.add(small(dropout=0.1))
        trainer.step(5)
        if sampled:
            state = torch.get_rng_state()
            generate(trainer, member, [97], 10, count=2)
            assert (torch.get_rng_state() == state).all()
        trainer.step(5)
        ends.append(trainer.snapshot(member))
    assert_same(*ends)


@pytest.mark.parametrize(("prompt", "told"), [([], "prompt: empty"), ([256], "token id 256"), ([-1], "token id -1")])
def test_a_prompt_that_cannot_be_is_refused(trained: tuple[Trainer, Member], prompt: list[int], told: str) -> None:
    with pytest.raises(TunemaxError, match=told):
        generate(*trained, prompt, 3)


@pytest.mark.parametrize(
    "given",
    [
        *({"temperature": value} for value in (float("nan"), float("inf"), -0.5)),
        {"tokens": -1},
        {"count": 0},
        {"seed": -1},
    ],
    ids=str,
)
def test_a_number_that_says_nothing_is_refused(trained: tuple[Trainer, Member], given: dict[str, Any]) -> None:
    (name, value), wanted = next(iter(given.items())), {"tokens": 2} | given
    with pytest.raises(TunemaxError, match=f"{name} = {value}: expected a"):
        generate(*trained, [1], **wanted)
