"""The stacked model by itself: what it may look at, where it starts, what dropout does, and columns that nobody
uses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.lanes import Lane
from tunemax.gpt.layout import Layout
from tunemax.gpt.model import forward, losses, parameters
from tunemax.gpt.positions.rotary import Rotary
from tunemax.gpt.random import Dropout, generator, key
from tunemax.gpt.softmax import Variant, variants
from tunemax.gpt.trainer import Member, Trainer

Make = Callable[..., Config]


def lane_of(config: Config, rows: int) -> Lane:
    """A lane of members that all have this configuration."""
    values = dict(config.softmax)
    scalars = {
        spec.name.rpartition(".")[2]: torch.full((rows, 1, 1, 1, 1), values[spec.name.rpartition(".")[2]])
        for spec in type(config.softmax).specs()
        if spec.is_scalar and spec.name.rpartition(".")[2] not in config.softmax.learned()
    }
    return Lane(config.softmax, slice(0, rows), scalars)


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_a_prediction_depends_on_no_later_token_and_on_every_earlier_one(
    variant: str, position: str, small: Make
) -> None:
    config = small(softmax_variant=variant, position=position, init_std=0.02)
    layout = Layout(parameters(config, 50))
    theta = torch.stack([layout.start(config)])
    theta[:, : layout.spans["hidden"].stop] *= 10  # larger weights than at the start, so that attention is not flat
    tokens = torch.randint(50, (1, 1, 16), generator=generator(1, "tokens"))
    changed = tokens.clone()
    changed[..., 9] = (tokens[..., 9] + 1) % 50
    one, other = (forward(layout.split(theta), given, config, [lane_of(config, 1)]) for given in (tokens, changed))
    differs = (one != other).any(-1).flatten()
    assert not differs[:9].any()
    if "logits" not in variants()[variant].straight_through:  # that rounds most of them away
        assert differs[9:].all()


def test_rotary_products_depend_on_the_distance_alone() -> None:
    q, k = (torch.randn(8, dtype=torch.float64, generator=generator(1, name)).expand(12, 8) for name in "qk")
    products = Rotary().turned(q, 0) @ Rotary().turned(k, 0).T
    for distance in range(-11, 12):
        along = products.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=0, atol=1e-12)
    torch.testing.assert_close(Rotary().turned(q, 0).norm(dim=-1), q.norm(dim=-1))


def test_initial_values_are_gpt2s_and_start_near_even_guessing(small: Make, corpus: Corpus) -> None:
    shape = {"n_embd": 64, "n_layer": 3, "bias": True}
    config = small(**shape, init_std=0.02, softmax_variant="constantmax", constantmax__sharing="head")
    layout = Layout(parameters(config, 256))
    views = layout.split(layout.start(config))
    assert views["wte"].std().item() == pytest.approx(0.02, rel=0.05)
    assert views["h.2.attn.proj.weight"].std().item() == pytest.approx(0.02 / math.sqrt(6), rel=0.05)
    assert views["h.2.mlp.fc.weight"].mean().item() == pytest.approx(0, abs=1e-3)
    assert (views["h.1.ln_1.weight"] == 1).all()
    assert not views["h.1.ln_1.bias"].any()
    assert not views["h.1.mlp.fc.bias"].any()
    assert views["h.0.constantmax.beta"].tolist() == [2.5, 2.5]
    assert views["h.0.constantmax.gamma"].exp().tolist() == pytest.approx([100, 100])
    trainer = Trainer(config, corpus)
    member = trainer.add(config)
    assert trainer.evaluate()[member] == pytest.approx(math.log(256), abs=0.1)


def test_initial_weights_follow_the_width_unless_they_are_given(small: Make) -> None:
    drawn = {}
    for width, std in ((16, 0.0), (64, 0.0), (64, 0.02), (64, 0.04)):
        config = small(n_embd=width, n_layer=3, init_std=std)
        layout = Layout(parameters(config, 256))
        views = layout.split(layout.start(config))
        assert views["wte"].std() / views["h.2.mlp.proj.weight"].std() == pytest.approx(math.sqrt(6), rel=0.1)
        drawn[width, std] = views["wte"]
    assert drawn[16, 0.0].std().item() == pytest.approx(0.8 / 4, rel=0.05)  # what is stored as 0 means this
    assert drawn[64, 0.0].std().item() == pytest.approx(0.8 / 8, rel=0.05)
    torch.testing.assert_close(drawn[64, 0.04], 2 * drawn[64, 0.02])


def test_members_of_equal_seed_share_every_initial_value_they_have_in_common(small: Make) -> None:
    configs = [small(softmax_variant=variant, seed=5) for variant in variants()]
    layout = Layout(parameters(configs[0], 50))
    common = layout.spans["scalar"].start
    rows = [layout.start(config)[:common] for config in configs]
    assert all(torch.equal(rows[0], row) for row in rows)
    assert not torch.equal(rows[0], layout.start(small(seed=6))[:common])
    matrices = layout.split(layout.start(configs[0]))
    signs = [(matrices[p.name].flatten()[:40] > 0).tolist() for p in layout.parameters if p.shrink]
    assert len(signs) == 10
    assert all(one != other for one, other in itertools.combinations(signs, 2)), "two parameters are drawn alike"
    # A name draws its own numbers: other parameters beside it do not matter.
    other = small(seed=5, bias=True, position="rotary", tie_weights=False, n_layer=2)
    other_layout = Layout(parameters(other, 50))
    views = other_layout.split(other_layout.start(other))
    torch.testing.assert_close(
        views["h.1.attn.qkv.weight"], layout.split(layout.start(configs[0]))["h.1.attn.qkv.weight"], rtol=0, atol=0
    )


def test_a_seed_and_words_name_one_stream_each() -> None:
    names = [
        (1, "init", "wte"),
        (1, "init", "wpe"),
        (2, "init", "wte"),
        (1, "dropout", 1, "embed"),
        (1, "dropout", 11, "embed"),
    ]
    assert len({key(seed, *words) for seed, *words in names}) == len(names)
    assert key(1, "init", "wte") == key(1, "init", "wte")
    assert all(0 <= key(seed, *words) < 2**63 for seed, *words in names)


def test_the_global_random_state_is_neither_read_nor_moved(small: Make, corpus: Corpus) -> None:
    config = small(dropout=0.2)
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        trainer = Trainer(config, corpus)
        member = trainer.add(config)
        trainer.step(3)
        losses.append(member.train_loss)
        assert torch.equal(torch.get_rng_state(), before)
    assert losses[0] == losses[1]


# --- columns that a member does not use


def test_inert_columns_have_no_gradient(small: Make) -> None:
    for config in (
        small(softmax_variant="softmax"),
        small(softmax_variant="constantmax", constantmax__learn_gamma=False),
    ):
        layout = Layout(parameters(config, 50))
        theta = torch.stack([layout.start(config)]).requires_grad_()
        tokens = torch.randint(50, (1, 3, 17), generator=generator(1, "tokens"))
        loss = losses(layout.split(theta), tokens, config, [lane_of(config, 1)]).sum()
        (gradient,) = torch.autograd.grad(loss, theta)
        used = {f"h.{layer}.constantmax.beta" for layer in range(2)} if config.softmax.name == "constantmax" else set()
        for parameter in layout.parameters:
            view = layout.split(gradient)[parameter.name]
            if parameter.role != "scalar":
                assert view.any()
            elif parameter.name in used:
                assert view[:, 0].any()
                assert not view[:, 1:].any()  # shared by a layer: one column
            else:
                assert not view.any()


def trained_numbers(trainer: Trainer, member: Member) -> int:
    return sum(t.numel() for name, t in trainer.snapshot(member).tensors.items() if name.startswith("theta/"))


def test_inert_columns_are_not_trained_not_counted_and_not_in_snapshots(small: Make, corpus: Corpus) -> None:
    configs = {
        "none": small(softmax_variant="softmax"),
        "layer": small(softmax_variant="constantmax"),
        "head": small(softmax_variant="constantmax", constantmax__sharing="head"),
        "frozen": small(softmax_variant="constantmax", constantmax__learn_beta=False, constantmax__learn_gamma=False),
    }
    trainer = Trainer(configs["none"], corpus)
    members = {name: trainer.add(config) for name, config in configs.items()}
    trainer.step(4)
    counts = {name: trained_numbers(trainer, member) for name, member in members.items()}
    assert counts["layer"] - counts["none"] == 2 * 2
    assert counts["head"] - counts["none"] == 2 * 2 * 2
    assert counts["frozen"] == counts["none"]
    for name, member in members.items():
        tensors = trainer.snapshot(member).tensors
        learnables = {n: t.shape for n, t in tensors.items() if "constantmax" in n}
        assert len(learnables) == (12 if name in ("layer", "head") else 0)
        assert all(shape == ((2,) if name == "head" else (1,)) for shape in learnables.values())


# --- dropout


def masks(rates: list[float], seeds: list[int], iterations: list[int], site: str = "embed") -> Tensor:
    return Dropout(rates, seeds, iterations)(torch.ones(len(rates), 40, 50), site)


def test_dropout_masks_follow_from_seed_iteration_and_site_alone() -> None:
    reference = masks([0.3], [7], [5])[0]
    stacked = masks([0.5, 0.3, 0.0], [1, 7, 7], [9, 5, 5])
    assert torch.equal(stacked[1], reference)
    assert torch.equal(stacked[2], torch.ones(40, 50))
    for other in (masks([0.3], [8], [5]), masks([0.3], [7], [6]), masks([0.3], [7], [5], "h.0.mlp")):
        assert not torch.equal(other[0], reference)
    kept = reference > 0
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.03)
    assert reference[kept].unique().tolist() == pytest.approx([1 / 0.7])


def test_dropout_acts_in_training_only(small: Make, corpus: Corpus) -> None:
    trainer = Trainer(small(), corpus)
    plain, dropped = trainer.add(small()), trainer.add(small(dropout=0.5))
    assert len(set(trainer.evaluate().values())) == 1
    trainer.step()
    assert plain.train_loss != dropped.train_loss
    assert trainer.evaluate()[dropped] == trainer.evaluate()[dropped]


# --- bf16


@pytest.mark.parametrize("variant", variants())
def test_bf16_is_near_fp32_and_learns(variant: str, small: Make, corpus: Corpus) -> None:
    """Tolerance: 8 bits of mantissa in the products give losses within 0.02 nats of fp32 after 40 steps here."""
    ends: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        config = small(softmax_variant=variant, precision=precision, learning_rate=1e-2)
        trainer = Trainer(config, corpus)
        member = trainer.add(config)
        start = trainer.evaluate()[member]
        trainer.step(40)
        ends[precision] = trainer.evaluate()[member]
        assert ends[precision] < start - 2
    assert ends["bf16"] == pytest.approx(ends["fp32"], abs=0.02)
    assert ends["bf16"] != ends["fp32"]


def test_attention_of_bf16_is_weighed_in_fp32(small: Make, corpus: Corpus) -> None:
    """Eight bits of a logit of 5 are an error of 2 % in its weight."""
    config = small(precision="bf16")
    trainer = Trainer(config, corpus)
    trainer.add(config)
    seen = []

    def observe(layer: int, variant: Variant, logits: torch.Tensor, mask: torch.Tensor) -> None:
        seen.append(logits.dtype)

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        tokens = torch.zeros(1, 1, 4, dtype=torch.int64)
        forward(trainer.layout.split(trainer.rows()), tokens, config, trainer._lanes(), observe=observe)
    assert seen == [torch.float32] * 2
