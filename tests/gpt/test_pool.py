"""Members of several shapes, each in the trainer that can stack it."""

from __future__ import annotations

from collections.abc import Callable

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.pool import Pool

Make = Callable[..., Config]


def test_members_of_one_bucket_are_stacked_and_others_are_not(small: Make, corpus: Corpus) -> None:
    opened: list[str] = []

    def data(dataset: str) -> Corpus:
        opened.append(dataset)
        return corpus

    pool = Pool(data)
    first, _ = pool.add(small())
    second, _ = pool.add(small(learning_rate=1e-2, softmax_variant="polymax"))
    wide, _ = pool.add(small(n_embd=32))
    assert first is second
    assert list(pool) == [first, wide]
    assert [len(trainer.members) for trainer in pool] == [2, 1]
    assert len(opened) == 1, "trainers share the text"
    elsewhere, _ = pool.add(small(dataset="another"))
    assert elsewhere is not first, "whoever trains on another text cannot be stacked"


def test_a_trainer_without_members_is_let_go(small: Make, corpus: Corpus) -> None:
    pool = Pool(lambda dataset: corpus)
    trainer, member = pool.add(small())
    wide, _ = pool.add(small(n_embd=32))
    trainer.remove(member)
    pool.drop_empty()
    assert list(pool) == [wide]
    assert pool.trainer(small()) is not trainer
