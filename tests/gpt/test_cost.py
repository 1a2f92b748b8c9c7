"""What a configuration costs, beside torch's own count of the iteration that is really trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import tunemax.gpt.cost
from tunemax.gpt.config import Config
from tunemax.gpt.cost import Cost
from tunemax.gpt.data import Corpus
from tunemax.gpt.model import parameters as declared
from tunemax.gpt.parameters import Parameter
from tunemax.gpt.softmax import variants
from tunemax.gpt.trainer import Trainer

TINY = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "batch_size": 3, "device": "cpu"}
SHAPES: list[dict[str, Any]] = [
    {},
    {"n_layer": 3},
    {"n_embd": 32, "n_head": 4},
    {"block_size": 16, "batch_size": 2},
    {"tie_weights": False, "bias": True},
    {"position": "rotary", "norm_position": "post", "dropout": 0.1},
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_operations_are_those_that_torch_counts(shape: Mapping[str, Any], corpus: Corpus) -> None:
    config = Config.of({**TINY, **shape})
    trainer = Trainer(config, corpus)
    trainer.add(config)
    with FlopCounterMode(display=False) as counter:
        trainer.step(2)
    assert Cost.of(config, corpus.manifest.vocab_size).flops == counter.get_total_flops() / 2


def test_what_a_member_writes_is_counted(corpus: Corpus) -> None:
    """Once in `feedback_every` iterations. Attention counts in full, though the first tokens see few."""
    own = {"feedback_share": 0.3, "feedback_every": 2, "feedback_pool": 5}
    plain, config = Config.of(TINY), Config.of({**TINY, **own})
    each, fed = (Cost.of(one, corpus.manifest.vocab_size) for one in (plain, config))
    trainer = Trainer(config, corpus)
    trainer.add(config)
    trainer.step(2)
    with FlopCounterMode(display=False) as counter:
        trainer.step(2)
    counted = counter.get_total_flops() - 2 * each.flops
    attention = 5 * 8 * 2 * config.attention.flops(config.model)
    assert 2 * (fed.flops - each.flops) - attention < counted <= 2 * (fed.flops - each.flops)
    assert fed.flops == pytest.approx(each.flops * (1 + 5 / (2 * 3) / 3))
    assert fed.tokens == each.tokens
    assert fed.parameters == each.parameters


@pytest.mark.parametrize("variant", variants())
def test_parameters_are_the_columns_that_training_moves(variant: str, corpus: Corpus) -> None:
    config = Config.of({**TINY, "softmax_variant": variant, "warmup_fraction": 0.0, "weight_decay": 1.0, "n_layer": 1})
    trainer = Trainer(config, corpus, torch.float64)
    trainer.add(config)
    before = trainer.rows()
    trainer.step(40)
    moved = int((trainer.rows() != before).sum())
    # A byte that the text does not have and a row that no query attends to may stay where they are
    assert 0.95 * Cost.of(config, corpus.manifest.vocab_size).parameters <= moved
    assert moved <= Cost.of(config, corpus.manifest.vocab_size).parameters


@pytest.mark.parametrize(
    ("fields", "learned"),
    [
        ({}, 0),
        ({"softmax_variant": "constantmax"}, 2 * 2),  # β and γ of each layer
        ({"softmax_variant": "constantmax", "constantmax.sharing": "head"}, 2 * 2 * 2),
        ({"softmax_variant": "constantmax", "constantmax.learn_beta": False}, 2),
    ],
)
def test_a_variant_adds_what_it_learns(fields: Mapping[str, Any], learned: int) -> None:
    plain = Cost.of(Config.of(TINY), 50).parameters
    assert Cost.of(Config.of({**TINY, **fields}), 50).parameters - plain == learned


def test_no_shape_has_the_count_of_another() -> None:
    """Counts are kept: whichever is asked for first, each shape has its own."""
    shapes = [{**TINY, **shape} for shape in [*SHAPES, {"dropout": 0.3}, {"softmax_variant": "constantmax"}]]
    counted = [Cost.of(Config.of(shape), vocab) for shape in shapes for vocab in (50, 60)]
    again = [Cost.of(Config.of(shape), vocab) for shape in reversed(shapes) for vocab in (60, 50)]
    assert counted == again[::-1]
    assert len({cost.flops for cost in counted[:8]}) == 8  # the first four shapes differ in operations
    assert counted[12:14] == counted[:2]  # dropout costs nothing that is counted


def test_a_shape_is_laid_out_once_for_all_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    laid_out = []

    def parameters(config: Config, vocab_size: int) -> Iterator[Parameter]:
        laid_out.append(config)
        return declared(config, vocab_size)

    monkeypatch.setattr(tunemax.gpt.cost, "parameters", parameters)
    shape = {**TINY, "n_embd": 22}  # that no other test counts
    for seed in range(9):
        Cost.of(Config.of({**shape, "seed": seed, "dropout": seed / 10, "learning_rate": 1e-3 * (seed + 1)}), 50)
    assert len(laid_out) == 1


def test_parameters_of_a_gpt2_are_those_of_the_paper() -> None:
    gpt2 = {"n_layer": 12, "n_head": 12, "n_embd": 768, "block_size": 1024, "bias": True, "batch_size": 8}
    cost = Cost.of(Config.of(gpt2), 50257)
    assert cost.parameters == 124_439_808
    assert cost.tokens == 8192
