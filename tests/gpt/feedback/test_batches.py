"""Training on what was written: which rows of which batches, and that everything goes on as if never disturbed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from tunemax.gpt import checkpoint
from tunemax.gpt.compile import step
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.feedback import batches
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.trainer import Member, Trainer

Small = Callable[..., Config]
Same = Callable[[Snapshot, Snapshot], None]

ON: dict[str, Any] = {"feedback_share": 0.4, "feedback_every": 5, "feedback_pool": 8, "learning_rate": 1e-2}


def begun(corpus: Corpus, *configs: Config, steps: int = 0) -> tuple[Trainer, list[Member]]:
    trainer = Trainer(configs[0], corpus)
    members = [trainer.add(config) for config in configs]
    trainer.step(steps)
    return trainer, members


def test_a_share_of_each_batch_is_of_the_latest_pool_and_the_rest_as_without(small: Small, corpus: Corpus) -> None:
    trainer, (member, plain) = begun(corpus, small(**ON), small())
    own, pools = [], []
    for i in range(15):
        batch = next(trainer._batches(1))
        real = torch.from_numpy(corpus.at(trainer.offsets(member.config.train, i), 16))
        assert (batch[1] == torch.from_numpy(corpus.at(trainer.offsets(plain.config.train, i), 16))).all()
        count = int((batch[0] != real).any(-1).sum()) if i < 5 else (4 * 2 * (i + 1)) // 5 - (4 * 2 * i) // 5
        assert (batch[0, : 4 - count] == real[: 4 - count]).all()
        if count:
            assert member.pool is not None
            pool = {tuple(window) for window in member.pool.windows.tolist()}
            assert all(tuple(window) in pool for window in batch[0, 4 - count :].tolist())
            pools.append(pool)
        own.append(count)
        trainer.step()
    assert own[:5] == [0] * 5
    assert sum(own) == round(0.4 * 4 * 10)
    assert len({frozenset(pool) for pool in pools}) == 2, "a new one at iteration 10"
    assert plain.pool is None


def test_learning_from_its_own_text_changes_what_is_learned(small: Small, corpus: Corpus, assert_same: Same) -> None:
    variations: list[dict[str, Any]] = [
        {},
        {"feedback_share": 0.0},
        {"feedback_every": 6},
        {"feedback_pool": 9},
        {"feedback_prompt": 0.0},
        {"feedback_temperature": 0.5},
        {"feedback_noise": 0.3},
        {"feedback_filter": "likelihood"},
        {"feedback_filter": "novelty"},
        {"feedback_filter": "likelihood", "feedback_low": 0.0, "feedback_high": 0.3},
    ]
    trainer, members = begun(corpus, *(small(**{**ON, **fields}) for fields in variations), steps=9)
    rows = trainer.rows()
    assert len({row.numpy().tobytes() for row in rows}) == len(variations)
    again, others = begun(corpus, *(small(**{**ON, **fields}) for fields in variations), steps=9)
    for member, other in zip(members, others, strict=True):
        assert_same(trainer.snapshot(member), again.snapshot(other))


@pytest.mark.parametrize("at", [3, 5, 7])
def test_a_member_goes_on_from_a_file_and_from_a_fork(
    small: Small, corpus: Corpus, tmp_path: Path, assert_same: Same, at: int
) -> None:
    config = small(**ON, feedback_filter="likelihood")
    trainer, (member,) = begun(corpus, config, steps=at)
    checkpoint.save(trainer.snapshot(member), tmp_path / "member", "text")
    saved = checkpoint.load(tmp_path / "member", "text")
    fork = trainer.restore(trainer.snapshot(member))
    other = Trainer(small(), corpus)
    other.add(small(seed=5))
    resumed = other.restore(saved)
    assert_same(trainer.snapshot(member), other.snapshot(resumed))
    for one in (trainer, other):
        one.step(6)
    whole, (undisturbed,) = begun(corpus, config, steps=at + 6)
    assert_same(trainer.snapshot(member), whole.snapshot(undisturbed))
    assert_same(trainer.snapshot(member), trainer.snapshot(fork))
    assert_same(trainer.snapshot(member), other.snapshot(resumed))


def test_however_it_is_called_a_training_is_the_same(small: Small, corpus: Corpus, assert_same: Same) -> None:
    config = small(**ON)
    trainer, (member,) = begun(corpus, config, steps=12)
    other, (looked_at,) = begun(corpus, config)
    for _ in range(12):
        other.prepare()
        other.gradients()
        other.evaluate()
        other.step()
    assert_same(trainer.snapshot(member), other.snapshot(looked_at))


def test_a_gradient_is_that_of_the_next_batch_and_leaves_no_trace(small: Small, corpus: Corpus) -> None:
    trainer, (member,) = begun(corpus, small(**ON), steps=5)
    without, _ = begun(corpus, small(**{**ON, "feedback_share": 0.0}), steps=5)
    found = trainer.gradients()
    assert not torch.equal(found, without.gradients()), "iteration 5 has a window of its own"
    assert member.pool is None
    trainer.write([member])
    assert torch.equal(found, trainer.gradients())


def test_a_share_is_steered_while_a_training_runs(small: Small, corpus: Corpus, assert_same: Same) -> None:
    steered, constant = small(**{**ON, "feedback_share": 0.0}), small(**ON)
    trainer, (member, other) = begun(corpus, steered, constant)
    trainer.set(member, "feedback_share", 0.4)
    trainer.step(8)
    pool = member.pool
    assert_same(trainer.snapshot(member), trainer.snapshot(other))
    trainer.set(member, "feedback_share", 0.0)
    trainer.step(1)
    trainer.set(member, "feedback_share", 0.4)
    trainer.step(1)
    assert member.pool is pool
    trainer.set(member, "feedback_share", 0.0)
    trainer.step(3)
    trainer.set(member, "feedback_share", 0.4)
    assert "feedback" not in trainer.snapshot(member).tensors, "it wrote nothing at 10, and the pool of 5 is too old"
    with pytest.raises(TunemaxError, match=r"feedback_share = 0.8: leaves less than one window of the text"):
        trainer.set(member, "feedback_share", 0.8)


def test_what_was_switched_off_is_forgotten_in_any_company(small: Small, corpus: Corpus, assert_same: Same) -> None:
    trainers = []
    for others in ((), (small(**ON, seed=3),)):
        trainer, (member, *_) = begun(corpus, small(**ON), *others, steps=6)
        trainer.set(member, "feedback_share", 0.0)
        trainer.step(5)
        trainer.set(member, "feedback_share", 0.4)
        trainer.step(6)
        trainers.append((trainer, member))
    assert_same(*(trainer.snapshot(member) for trainer, member in trainers))


def test_off_means_that_nothing_of_it_is_run(small: Small, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "is_due", None)
    monkeypatch.setattr(batches, "drawn_now", None)
    trainer, _ = begun(corpus, small(), small(seed=2), steps=3)
    assert trainer.members[0].iteration == 3


def test_what_diverges_writes_nothing_and_leaves_the_others_alone(
    small: Small, corpus: Corpus, assert_same: Same
) -> None:
    wild = small(**ON, seed=2)
    trainer, (member, lost) = begun(corpus, small(**ON), wild, steps=4)
    trainer._rows.theta[trainer.members.index(lost)] = torch.nan
    trainer.step(5)
    alone, (by_itself,) = begun(corpus, small(**ON), steps=9)
    assert_same(trainer.snapshot(member), alone.snapshot(by_itself))
    assert lost.event is not None
    assert "feedback" not in trainer.snapshot(lost).tensors


def test_weights_alone_begin_anew_without_a_pool(small: Small, corpus: Corpus) -> None:
    trainer, (member,) = begun(corpus, small(**ON), steps=6)
    snapshot = trainer.snapshot(member)
    assert "feedback" in snapshot.tensors
    assert snapshot.tensors["feedback"].numel() * 4 == 8 * 17 * 4
    assert "feedback" not in snapshot.weights.tensors
    assert trainer.restore(snapshot.begun(member.config)).pool is None


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (torch.zeros(2, 9, dtype=torch.int32), "feedback has shape [2, 9] of torch.int32, expected at most 8 windows"),
        (torch.zeros(9, 17, dtype=torch.int32), "feedback has shape [9, 17] of torch.int32"),
        (torch.zeros(2, 17), "feedback has shape [2, 17] of torch.float32"),
        (torch.full((2, 17), 999, dtype=torch.int32), "feedback has tokens that are none of this data's 256"),
        (torch.full((2, 17), -1, dtype=torch.int32), "feedback has tokens that are none of this data's 256"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(small: Small, corpus: Corpus, pool: torch.Tensor, message: str) -> None:
    trainer, (member,) = begun(corpus, small(**ON), steps=6)
    snapshot = trainer.snapshot(member)
    wrong = Snapshot(snapshot.config, snapshot.values, 6, {**snapshot.tensors, "feedback": pool})
    with pytest.raises(TunemaxError) as refusal:
        trainer.restore(wrong)
    assert str(refusal.value).startswith(f"snapshot: {message}")
    assert len(trainer.members) == 1


@pytest.mark.long
def test_compiled_and_eager_agree(small: Small, corpus: Corpus) -> None:
    snapshots = []
    with patch.object(step, "compiled", lambda key, trace: trace()[0]), patch.object(step, "_known", {}):
        for compiled in (False, True):
            configs = [small(**ON, n_layer=1, compile=compiled, seed=seed) for seed in (1, 2)]
            trainer = Trainer(configs[0], corpus, torch.float64)
            members = [trainer.add(config) for config in configs]
            trainer.step(9)
            assert trainer.arithmetic.startswith("compiled, " if compiled else "eager, ")
            snapshots.append([trainer.snapshot(member).tensors for member in members])
    for eager, other in zip(*snapshots, strict=True):
        assert torch.equal(eager["feedback"], other["feedback"])
        for name, tensor in eager.items():
            np.testing.assert_allclose(other[name].numpy(), tensor.numpy(), rtol=1e-9, atol=1e-9)
