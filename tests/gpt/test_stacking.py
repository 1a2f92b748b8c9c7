"""A member is a row: its numbers do not depend, in any bit, on who else is stacked, comes, goes or breaks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tunemax.gpt import matmul
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.probe import probe
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.softmax import variants
from tunemax.gpt.trainer import Member, Trainer

Make = Callable[..., Config]
Same = Callable[[Snapshot, Snapshot], None]

MIXED: list[dict[str, Any]] = [
    *(
        {"softmax_variant": name, "seed": seed, "learning_rate": 1e-3 * (seed + 1)}
        for seed, name in enumerate(variants())
    ),
    {
        "softmax_variant": "constantmax",
        "constantmax__sharing": "head",
        "variant_lr_ratio": 20,
        "seed": 3,
        "max_iters": 9,
    },
    {"softmax_variant": "constantmax", "constantmax__gamma_form": "raw", "constantmax__beta": 1, "grad_clip": 0.1},
    {"softmax_variant": "constantmax", "constantmax__learn_beta": False, "weight_decay": 2, "beta1": 0.5, "beta2": 0.9},
    {"softmax_variant": "strongermax", "strongermax__learn_temperature": True, "strongermax__obo": 1, "dropout": 0.3},
    {"softmax_variant": "polymax", "polymax__x0": -30, "dropout": 0.1, "grad_clip": 0},
    {"softmax_variant": "softmax", "dropout": 0.2, "schedule": "wsd", "seed": 8, "eval_iters": 2},
]


def alone(config: Config, corpus: Corpus, steps: int) -> tuple[Trainer, Member]:
    trainer = Trainer(config, corpus)
    member = trainer.add(config)
    trainer.step(steps)
    return trainer, member


SHAPES = {
    "pre": {},
    "post, rotary, untied, biases, odd sizes": {
        "norm_position": "post", "position": "rotary", "tie_weights": False, "bias": True, "n_layer": 1, "n_embd": 20,
        "batch_size": 3,
        "block_size": 13,
    },
}  # fmt: skip


@pytest.fixture(params=matmul.ROUTES)
def by_every_route(request: pytest.FixtureRequest) -> Iterator[None]:
    """Matrix products as this machine may do them; a route that is no fp32 here is never taken."""
    before = torch.get_float32_matmul_precision()
    matmul.take(request.param if matmul.allowed(request.param) else "default")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("by_every_route")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_stack_of_all_variants_equals_separate_runs(
    shape: dict[str, Any], small: Make, corpus: Corpus, assert_same: Same
) -> None:
    configs = [small(**{**shape, **fields}) for fields in MIXED]
    stacked = Trainer(configs[0], corpus)
    members = [stacked.add(config) for config in configs]
    for steps in (1, 4, 2):
        stacked.step(steps)
    losses, probes = stacked.evaluate(), probe(stacked)
    for config, member in zip(configs, members, strict=True):
        solo, own = alone(config, corpus, 5)
        solo.step(2)
        assert_same(stacked.snapshot(member), solo.snapshot(own))
        assert (member.train_loss, member.grad_norm, member.event) == (own.train_loss, own.grad_norm, None)
        assert losses[member] == solo.evaluate()[own]
        torch.testing.assert_close(probes[member].row_sum, probe(solo)[own].row_sum, rtol=0, atol=0)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_in_bf16_a_stack_equals_separate_runs_to_rounding(shape: dict[str, Any], small: Make, corpus: Corpus) -> None:
    """With eight bits of mantissa, 0.005 nats after seven iterations: a library may round a product otherwise beside
    others."""
    configs = [small(precision="bf16", **{**shape, **fields}) for fields in MIXED]
    stacked = Trainer(configs[0], corpus)
    members = [stacked.add(config) for config in configs]
    stacked.step(7)
    losses = stacked.evaluate()
    for config, member in zip(configs, members, strict=True):
        solo, own = alone(config, corpus, 7)
        assert losses[member] == pytest.approx(solo.evaluate()[own], abs=0.005)
        assert member.train_loss == pytest.approx(own.train_loss, abs=0.005)


def test_two_threads_do_not_make_a_member_depend_on_its_neighbours(
    small: Make, corpus: Corpus, assert_same: Same
) -> None:
    """At this size one sum over all logits of a member is large enough to be shared out between threads."""
    config = small(softmax_variant="constantmax", n_layer=1, n_head=2, block_size=64, batch_size=5)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        stacked = Trainer(config, corpus)
        member, _ = stacked.add(config), stacked.add(config.replace({"seed": 2}))
        stacked.step(2)
        solo, own = alone(config, corpus, 2)
        assert_same(stacked.snapshot(member), solo.snapshot(own))
    finally:
        torch.set_num_threads(threads)


def test_members_that_come_and_go_leave_the_others_as_they_are(small: Make, corpus: Corpus, assert_same: Same) -> None:
    configs = [small(**fields) for fields in MIXED]
    trainer = Trainer(configs[0], corpus)
    stays = [trainer.add(config) for config in configs[::3]]
    guest = trainer.add(configs[1])
    trainer.step(2)
    trainer.remove(guest)
    late = trainer.add(configs[4])
    trainer.step(1)
    other = trainer.add(configs[8])
    trainer.remove(late)
    trainer.step(2)
    assert guest not in trainer.members
    assert late not in trainer.members
    assert trainer.members.count(other) == 1
    for config, member, steps in [*zip(configs[::3], stays, [5] * len(stays), strict=True), (configs[8], other, 2)]:
        solo, own = alone(config, corpus, steps)
        assert_same(trainer.snapshot(member), solo.snapshot(own))


def test_a_subset_is_evaluated_as_the_whole_is(small: Make, corpus: Corpus) -> None:
    trainer = Trainer(small(), corpus)
    members = [trainer.add(small(**fields)) for fields in MIXED]
    trainer.step(2)
    everybody = trainer.evaluate()
    some = [members[9], members[0], members[5]]
    assert trainer.evaluate(members=some) == {member: everybody[member] for member in some}
    assert trainer.evaluate(members=[]) == {}
    other = trainer.evaluate("confirmation", members=some)
    assert all(other[member] != everybody[member] for member in some)
    windows = corpus.windows_at("tuning", corpus.targets("tuning", 256, 16, look=True).offsets, 16)
    by_hand = trainer.window_losses([members[0]], windows).mean()
    assert everybody[members[0]] == pytest.approx(by_hand, rel=1e-7)  # of means in float32


def test_a_refused_replacement_costs_nobody_its_place(small: Make, corpus: Corpus) -> None:
    trainer = Trainer(small(), corpus)
    member = trainer.add(small())
    with pytest.raises(
        TunemaxError, match=r"n_embd = 32: members stacked here have 16; train this configuration in another trainer"
    ):
        trainer.add(small(n_embd=32))
    assert trainer.members == [member]
    trainer.step()
    assert member.iteration == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {
                "learning_rate": 10, "grad_clip": 0, "schedule": "constant", "warmup_fraction": 0, "eval_by": "windows",
            },
            "training loss",
        ),
        (
            {
                "softmax_variant": "constantmax", "constantmax__gamma_form": "raw", "constantmax__gamma": 20,
                "constantmax__learn_beta": False, "variant_lr_ratio": 3000, "learning_rate": 1e-2, "warmup_fraction": 0,
            },
            "a learnable left its domain: constantmax.gamma = -",
        ),
    ],
    ids=["loss", "domain"],
)  # fmt: skip
@pytest.mark.parametrize("at_once", [1, 12])
def test_a_member_that_diverges_is_told_and_leaves_its_neighbours_alone(
    fields: dict[str, Any], reason: str, at_once: int, small: Make, corpus: Corpus, assert_same: Same
) -> None:
    trainer = Trainer(small(), corpus)
    neighbours = [(small(**other), trainer.add(small(**other))) for other in (MIXED[0], MIXED[1], MIXED[7])]
    broken = trainer.add(small(**fields))
    for _ in range(12 // at_once):
        trainer.step(at_once)
    assert broken.event is not None
    assert broken.event.reason.startswith(f"diverged: {reason}")
    assert 1 <= broken.event.iteration < 12
    assert len(broken.event.reason.splitlines()) == 1
    for config, member in neighbours:
        assert member.event is None
        solo, own = alone(config, corpus, 12)
        assert_same(trainer.snapshot(member), solo.snapshot(own))
        assert trainer.evaluate()[member] == solo.evaluate()[own]
    # The first iteration at which it showed, however many were trained at once.
    again, own = Trainer(small(), corpus), small(**fields)
    member = again.add(own)
    while member.event is None:
        again.step()
    assert member.event == broken.event


# --- snapshot, restore, fork


def test_a_fork_and_its_origin_go_the_same_way(small: Make, corpus: Corpus, assert_same: Same) -> None:
    trainer = Trainer(small(), corpus)
    members = [trainer.add(small(**fields)) for fields in MIXED]
    trainer.step(3)
    forks = [trainer.restore(trainer.snapshot(member)) for member in members]
    trainer.step(4)
    for member, fork in zip(members, forks, strict=True):
        assert fork is not member
        assert_same(trainer.snapshot(member), trainer.snapshot(fork))
        assert member.train_loss == fork.train_loss


@pytest.mark.usefixtures("by_every_route")
def test_a_restored_member_goes_on_as_if_never_disturbed(small: Make, corpus: Corpus, assert_same: Same) -> None:
    for fields in MIXED:
        config = small(**fields)
        first, member = alone(config, corpus, 3)
        snapshot = first.snapshot(member)
        first.step(4)
        second = Trainer(config, corpus)
        second.add(small(seed=99))
        restored = second.restore(snapshot)
        second.add(small(softmax_variant="constantmax", seed=98))
        second.step(4)
        assert restored.iteration == member.iteration == 7
        assert_same(second.snapshot(restored), first.snapshot(member))


def test_a_snapshot_does_not_move_with_its_member(small: Make, corpus: Corpus, assert_same: Same) -> None:
    trainer, member = alone(small(softmax_variant="constantmax", learning_rate=1e-3), corpus, 2)
    snapshot = trainer.snapshot(member)
    copy = dataclasses.replace(snapshot, tensors={name: tensor.clone() for name, tensor in snapshot.tensors.items()})
    trainer.set(member, "constantmax.beta", 9)
    trainer.set(member, "learning_rate", 0.5)
    trainer.step(2)
    assert_same(snapshot, copy)
    restored = trainer.restore(snapshot)
    assert restored.values["learning_rate"] == 1e-3
    trainer.step(1)
    assert_same(snapshot, copy)


def test_a_snapshot_carries_controls_that_were_set(small: Make, corpus: Corpus, assert_same: Same) -> None:
    trainer, member = alone(small(), corpus, 2)
    trainer.set(member, "learning_rate", 2e-2)
    fork = trainer.restore(trainer.snapshot(member))
    assert fork.values["learning_rate"] == 2e-2
    trainer.set(fork, "learning_rate", 3e-2)
    assert member.values["learning_rate"] == 2e-2
    trainer.step(2)
    with pytest.raises(AssertionError):
        assert_same(trainer.snapshot(member), trainer.snapshot(fork))


def test_a_snapshot_that_does_not_fit_its_configuration_is_refused(small: Make, corpus: Corpus) -> None:
    trainer, member = alone(small(softmax_variant="constantmax"), corpus, 2)
    good = trainer.snapshot(member)
    beta = "theta/h.0.constantmax.beta"
    bad = {
        r"theta/h.0.constantmax.beta does not belong|h.0.constantmax": dataclasses.replace(
            good, config=small(softmax_variant="softmax"), values=small(softmax_variant="softmax").active()
        ),
        r"h.0.constantmax.beta has shape \[1\], this configuration needs \[2\]": dataclasses.replace(
            good, config=small(softmax_variant="constantmax", constantmax__sharing="head")
        ),
        r"theta/h.0.constantmax.beta": dataclasses.replace(
            good, tensors={n: t for n, t in good.tensors.items() if n != beta}
        ),
        r"wte has shape \[3, 16\]": dataclasses.replace(
            good, tensors={**good.tensors, "second/wte": torch.zeros(3, 16)}
        ),
        r"count \[0.0, 0.0\]": dataclasses.replace(good, tensors={**good.tensors, "count": torch.zeros(2)}),
        r"count \[2.0\] does not go with iteration 7": dataclasses.replace(good, iteration=7),
        r"n_embd = 32: members stacked here have 16": dataclasses.replace(
            good, config=small(softmax_variant="constantmax", n_embd=32)
        ),
    }
    for message, snapshot in bad.items():
        with pytest.raises(TunemaxError, match=message) as error:
            trainer.restore(snapshot)
        assert len(str(error.value).splitlines()) == 1
        assert trainer.members == [member]


# --- common random numbers


def test_members_of_equal_seed_see_the_same_batches_whatever_else_differs(
    small: Make, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray[Any, Any]] = []
    gather = corpus.at
    monkeypatch.setattr(
        corpus, "at", lambda offsets, block: (seen.append(windows := gather(offsets, block)), windows)[1]
    )
    trainer = Trainer(small(), corpus)
    variants_differ = (
        {"seed": 4},
        {"seed": 4, "softmax_variant": "polymax", "learning_rate": 0.1, "max_iters": 7},
        {"seed": 5},
    )
    members = [trainer.add(small(**fields)) for fields in variants_differ]
    one, same, other = (trainer.members.index(member) for member in members)
    trainer.step(3)
    assert len(seen) == 3
    for i, windows in enumerate(list(seen)):
        assert np.array_equal(windows[one], windows[same])
        assert not np.array_equal(windows[one], windows[other])
        assert np.array_equal(windows[one][:, :-1], corpus.at(corpus.batch_offsets(4, i, 4, 16), 16)[:, :-1])
    assert not np.array_equal(seen[0], seen[1])


def test_what_means_nothing_yet_is_there_when_a_number_has_moved(
    small: Make, corpus: Corpus, assert_same: Same
) -> None:
    """At an obo of 0 strongermax does not care what it subtracts, until an agent moves obo."""
    common = {"softmax_variant": "strongermax", "strongermax__clamp": True, "strongermax__clamp_value": 30}
    configs = [small(**common), small(**common, strongermax__maximum="guess", strongermax__guess=-3)]
    assert configs[0].identity == configs[1].identity
    trainer = Trainer(configs[0], corpus)
    members = [trainer.add(config) for config in configs]
    trainer.step(3)
    assert_same(*map(trainer.snapshot, members))
    for member in members:
        trainer.set(member, "strongermax.obo", 1.0)
    trainer.step(3)
    stacked = [trainer.snapshot(member) for member in members]
    assert not torch.equal(stacked[0].tensors["theta/wte"], stacked[1].tensors["theta/wte"])
    for config, snapshot in zip(configs, stacked, strict=True):
        own, member = alone(config, corpus, 3)
        own.set(member, "strongermax.obo", 1.0)
        own.step(3)
        assert_same(own.snapshot(member), snapshot)
        assert trainer.restore(snapshot).values == member.values
