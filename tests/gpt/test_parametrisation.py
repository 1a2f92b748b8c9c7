"""With muP nothing that a layer computes, and nothing that it learns in a step, depends on the width."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import tunemax.gpt.attention.base
import tunemax.gpt.linear
import tunemax.gpt.mlp.base
import tunemax.gpt.mlp.gated
import tunemax.gpt.model
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.optimizer import Optimizer
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.trainer import Member, Trainer

Make = Callable[..., Config]
Same = Callable[[Snapshot, Snapshot], None]
NARROW, WIDE = 32, 512
STEPS = (0, 1, 2, 4)
KINDS: dict[str, dict[str, Any]] = {
    **{
        name: {"optimizer": name}
        for name, optimizer in Optimizer.kinds().items()
        if optimizer().width_exponent is not None
    },
    "muon, spectral": {"optimizer": "muon", "muon_scale": "spectral", "learning_rate": 0.1},
    "adamw, untied": {"optimizer": "adamw", "tie_weights": False},
    "adamw, heads of one width": {"optimizer": "adamw", "heads": 16},
    **{f"adamw, {norm}": {"optimizer": "adamw", "qk_norm": norm} for norm in ("l2", "rms")},
    "adamw, other parts": {"attention": "grouped_query", "mlp": "swiglu", "norm": "rms", "norm_position": "peri"},
}


@pytest.fixture
def activations(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What each layer has computed last, by its name."""
    seen: dict[str, Tensor] = {}
    linear, forward = tunemax.gpt.linear.linear, tunemax.gpt.model.forward

    def seen_linear(views: Any, name: str, x: Tensor) -> Tensor:
        seen[name] = linear(views, name, x)
        return seen[name]

    def seen_forward(*arguments: Any) -> Tensor:
        seen["logits"] = forward(*arguments)
        return seen["logits"]

    for user in (tunemax.gpt.attention.base, tunemax.gpt.mlp.base, tunemax.gpt.mlp.gated):
        monkeypatch.setattr(user, "linear", seen_linear)
    monkeypatch.setattr(tunemax.gpt.model, "forward", seen_forward)
    return seen


def looks(config: Config, corpus: Corpus, seen: dict[str, Tensor]) -> dict[tuple[str, int, str], float]:
    """Of each layer after each of STEPS the mean size of what it computes of fixed windows, and of what has changed of
    it since the start."""
    trainer = Trainer(config, corpus)
    member = trainer.add(config)
    windows = corpus.windows("tuning", config.model.block_size, 4)
    found: dict[tuple[str, int, str], float] = {}
    start: dict[str, Tensor] = {}
    logits: list[Tensor] = []

    def observe(layer: int, variant: Any, at: Tensor, mask: Tensor) -> None:
        logits.append(at.masked_fill(~mask, 0.0))

    for before, after in itertools.pairwise((0, *STEPS)):
        trainer.step(after - before)
        logits.clear()
        trainer.window_losses([member], windows, observe)
        now = dict(seen) | {f"attention {layer}": at for layer, at in enumerate(logits)}
        start = start or now
        for name, value in now.items():
            found[name, after, "size"] = value.abs().mean().item()
            if after:
                found[name, after, "change"] = (value - start[name]).abs().mean().item()
    return found


def growth(config: Callable[[int], Config], corpus: Corpus, seen: dict[str, Tensor]) -> dict[Any, float]:
    """How many times as large each is in a wide model as in a narrow one."""
    narrow, wide = (looks(config(width), corpus, seen) for width in (NARROW, WIDE))
    return {key: wide[key] / narrow[key] for key in narrow if key[:2] != ("logits", 0)}


def of_width(small: Make, width: int, fields: dict[str, Any], **more: Any) -> Config:
    rest = dict(fields)
    if head := rest.pop("heads", None):
        rest |= {"n_head": width // head} | ({"mup_base_head_width": head} if "parametrisation" in more else {})
    rest |= {"warmup_fraction": 0.0, "grad_clip": 0.0, "bias": True}
    return small(n_embd=width, **rest, **more)


@pytest.mark.parametrize(
    "kind", [pytest.param(name, marks=pytest.mark.long if name.startswith("muon") else ()) for name in KINDS]
)
def test_with_mup_no_layer_and_no_update_grows_with_width(
    kind: str, small: Make, corpus: Corpus, activations: dict[str, Tensor]
) -> None:
    mup = {"parametrisation": "mup", "mup_base_width": NARROW}
    grown = growth(lambda width: of_width(small, width, KINDS[kind], **mup), corpus, activations)
    assert len(grown) == 2 * 5 * 7 + 6  # of two layers: four products and the attention's logits; and logits
    assert max(grown.values()) < 2, max(grown, key=lambda key: grown[key])
    standard = growth(lambda width: of_width(small, width, KINDS[kind]), corpus, activations)
    assert max(standard.values()) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_at_its_base_width_mup_is_the_standard_parametrisation_bit_for_bit(
    kind: str, small: Make, corpus: Corpus, assert_same: Same
) -> None:
    mup = {"parametrisation": "mup", "mup_base_width": 48}
    for more in ({}, {"init_std": 0.03, "position": "rotary", "weight_decay": 0.5}):
        ends = []
        for fields in (mup, {}):
            config = of_width(small, 48, KINDS[kind], **more, **fields)
            trainer = Trainer(config, corpus)
            member = trainer.add(config)
            trainer.step(4)
            ends.append((trainer.snapshot(member), trainer.evaluate()[member]))
        assert_same(ends[0][0], ends[1][0])
        assert ends[0][1] == ends[1][1]


def test_what_width_does_to_each_role(small: Make) -> None:
    """The table of Yang and Hu, arXiv 2203.03466, at four times the base width."""
    mup = {"parametrisation": "mup", "mup_base_width": 16, "n_embd": 64, "init_std": 0.08, "n_head": 2}
    config = small(**mup)
    assert {config.initial_std(role) for role in ("input", "output")} == {0.08}
    assert config.initial_std("hidden") == 0.04
    assert small(**{**mup, "init_std": 0.0}).initial_std("input") == 0.8 / 4
    assert small(**{**mup, "init_std": 0.0}).initial_std("hidden") == 0.8 / 8
    assert config.model.output_scale == 0.25
    assert small(**mup, mup_output_scale=2, mup_input_scale=3).model.output_scale == 0.5
    assert small(**mup, mup_output_scale=2, mup_input_scale=3).model.input_scale == 3
    # logits of attention are q · k √D_base / D in place of q · k / √D
    assert config.attention.query_scale(config.model) == math.sqrt(8 / 32)
    for more in ({"mup_base_head_width": 32}, {"head_dim": 16}, {"qk_norm": "l2"}):  # nothing that grows with the width
        config = small(**mup, **more)
        assert config.attention.query_scale(config.model) == 1
    config = small(**mup, qk_norm="rms", mup_base_head_width=2)
    assert config.attention.query_scale(config.model) == 0.25
    shares = {"adamw": 0.25, "lion": 0.25, "muon": 0.5}
    for kind, share in shares.items():
        config = small(**mup, optimizer=kind, warmup_fraction=0.0, learning_rate=0.1, weight_decay=0.2)
        assert config.hidden_rate == share
        update = Member(config, config.held()).update
        assert update.rates["hidden"] == pytest.approx(0.1 * share)
        assert {update.rates[role] for role in ("input", "output", "vector")} == {0.1}
        # What is left of a parameter after an update is the same at every width
        assert update.rates["hidden"] * update.decays["hidden"] == pytest.approx(0.1 * 0.2)
    assert small(**mup, optimizer="muon", muon_scale="spectral").hidden_rate == 1
    assert small(n_embd=64, n_head=2).hidden_rate == small(n_embd=64, n_head=2, mup_base_width=16).hidden_rate == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "parametrisation = mup: needs mup_base_width"),
        ({"mup_base_width": 0}, "parametrisation = mup: needs mup_base_width"),
        ({"mup_base_width": -1}, "mup_base_width = -1: expected a whole number ≥ 0"),
        ({"mup_base_width": 16, "optimizer": "sgd"}, "optimizer = sgd: .*; take one of adamw, lion, muon"),
        ({"mup_base_width": 16, "mup_output_scale": 0}, "mup_output_scale = 0: expected a number > 0"),
    ],
    ids=str,
)
def test_an_impossible_parametrisation_is_refused_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(TunemaxError, match=f"^{message}") as error:
        Config.of({"parametrisation": "mup", **values})
    assert len(str(error.value).splitlines()) == 1


def test_a_fused_path_has_the_scale_of_attention_too(
    small: Make, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is taken: attention's own products and `Variant.attend` compute the same."""
    config = small(parametrisation="mup", mup_base_width=4, n_head=2, init_std=0.5)
    trainer = Trainer(config, corpus)
    member = trainer.add(config)
    tokens = torch.arange(16)[None] * 7 % 100
    plain = trainer.logits(member, tokens)

    def fused(q: Tensor, k: Tensor, v: Tensor, place: Any) -> Tensor:
        return config.softmax.attend(q, k, v)

    monkeypatch.setattr(tunemax.gpt.attention.base, "fused", fused)
    torch.testing.assert_close(trainer.logits(member, tokens), plain, rtol=1e-4, atol=1e-4)
