"""What attention is measured to do, against the same quantities computed by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.probe import WINDOWS, probe
from tunemax.gpt.trainer import Member, Trainer

Make = Callable[..., Config]


def scaled(trainer: Trainer, member: Member, factor: float) -> Member:
    """The member with larger query and key weights, so that its logits are far from 0."""
    snapshot = trainer.snapshot(member)
    for name, tensor in snapshot.tensors.items():
        if name.startswith("theta/") and name.endswith("attn.qkv.weight"):
            tensor[:, : tensor.shape[0] * 2] *= factor
    trainer.remove(member)
    return trainer.restore(snapshot)


def first_logits(trainer: Trainer, member: Member, corpus: Corpus) -> Tensor:
    """Logits of the first layer on the probe batch, (B, H, T, T), with -inf for keys that a query may not see."""
    theta = {name.removeprefix("theta/"): value for name, value in trainer.snapshot(member).tensors.items()}
    tokens = torch.from_numpy(corpus.windows("tuning", 16, WINDOWS)[:, :-1])
    x = torch.nn.functional.layer_norm(theta["wte"][tokens] + theta["wpe"], (16,)) * theta["h.0.ln_1.weight"]
    q, k, _ = (x @ theta["h.0.attn.qkv.weight"]).split(16, dim=-1)
    q, k = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in (q, k))
    return (q @ k.mT / 8**0.5).masked_fill(torch.ones(16, 16).tril() == 0, -torch.inf)


@pytest.mark.parametrize("factor", [1, 30])
def test_the_measures_are_those_of_the_rows(factor: float, small: Make, corpus: Corpus) -> None:
    config = small(softmax_variant="constantmax", constantmax__beta=1.5, constantmax__gamma=20, init_std=0.02)
    trainer = Trainer(config, corpus)
    member = scaled(trainer, trainer.add(config), factor)
    logits = first_logits(trainer, member, corpus)
    found = probe(trainer)[member]
    maxima = logits.amax(-1)
    expected = {
        "row_max": maxima,
        "denominator": torch.exp(logits - maxima[..., None]).sum(-1),
        "row_sum": torch.exp(logits - 1.5).sum(-1) / 20,
    }
    for name, rows in expected.items():
        measure = getattr(found, name)
        assert measure.shape == (2, 2)
        torch.testing.assert_close(measure[0], rows.mean((0, 2)), rtol=1e-3, atol=1e-4)
    assert found.learnables["beta"].flatten().tolist() == [1.5, 1.5]
    assert found.learnables["gamma"].flatten().tolist() == pytest.approx([20, 20])


@pytest.mark.parametrize("variant", ["softmax", "softermax", "sigsoftmax", "sigsoftmax_base2", "strongermax"])
def test_rows_of_a_normalised_variant_sum_to_1(variant: str, small: Make, corpus: Corpus) -> None:
    config = small(softmax_variant=variant)
    trainer = Trainer(config, corpus)
    member = trainer.add(config)
    trainer.step(3)
    found = probe(trainer)[member]
    torch.testing.assert_close(found.row_sum, torch.ones(2, 2))
    assert not found.guarded.any()
    assert found.learnables == {}


GUARDED: list[dict[str, Any]] = [
    {"softmax_variant": "constantmax", "constantmax__gamma": 0.5},
    {"softmax_variant": "polymax", "polymax__power": 16, "polymax__divisor": 1},
    {"softmax_variant": "softermax", "softermax__subtract_max": False},
]


@pytest.mark.parametrize("fields", GUARDED, ids=lambda fields: fields["softmax_variant"])
def test_the_share_of_guarded_entries_is_seen_when_logits_are_huge(
    fields: dict[str, Any], small: Make, corpus: Corpus
) -> None:
    config = small(**fields, init_std=0.02)
    trainer = Trainer(config, corpus)
    quiet = trainer.add(config)
    loud = scaled(trainer, trainer.add(config), 300)
    found = probe(trainer)
    assert not found[quiet].guarded.any()
    share = found[loud].guarded
    assert (share > 0.05).all()
    assert (share < 0.95).all()
    for name in ("row_max", "denominator", "row_sum"):
        assert getattr(found[loud], name).isfinite().all()


def test_the_share_of_guarded_entries_is_of_those_that_are_allowed(small: Make, corpus: Corpus) -> None:
    config = small(softmax_variant="constantmax", constantmax__beta=1.5, constantmax__gamma=0.5)
    trainer = Trainer(config, corpus)
    member = scaled(trainer, trainer.add(config), 300)
    acts = first_logits(trainer, member, corpus) - 1.5 - math.log(0.5) > 30
    expected = acts.sum((0, 2, 3)) / (WINDOWS * 16 * 17 / 2)
    torch.testing.assert_close(probe(trainer)[member].guarded[0], expected, rtol=0, atol=1e-3)


def test_each_member_of_a_mixed_stack_gets_its_own(small: Make, corpus: Corpus) -> None:
    trainer = Trainer(small(), corpus)
    members = [
        trainer.add(small(softmax_variant=name, seed=seed))
        for seed, name in enumerate(["constantmax", "softmax", "polymax"])
    ]
    late = trainer.add(small(softmax_variant="constantmax", constantmax__sharing="head", seed=7))
    trainer.step(2)
    found = probe(trainer)
    assert set(found) == {*members, late}
    for member, measured in found.items():
        solo = Trainer(small(), corpus)
        restored = solo.restore(trainer.snapshot(member))
        alone = probe(solo)[restored]
        for name in ("row_max", "denominator", "row_sum", "guarded"):
            assert torch.equal(getattr(measured, name), getattr(alone, name))
    assert found[late].learnables["beta"].shape == (2, 2)
    assert found[members[0]].learnables["beta"].shape == (2, 1)
    assert probe(Trainer(small(), corpus)) == {}
