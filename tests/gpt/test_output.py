"""The distribution of the next token: a variant in place of the output's softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from softmax_oracles import ORACLES
from variant_settings import normal

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.sample import Choice, generate
from tunemax.gpt.softmax import outputs, variants
from tunemax.gpt.trainer import Member, Trainer

Make = Callable[..., Config]
OTHERS = [name for name in outputs() if name != "softmax"]
FIELDS: dict[str, dict[str, Any]] = {
    "sigsoftmax_base2": {"output__sigsoftmax_base2__base": 3.0},
    "ssmax": {"output__ssmax__strength": 0.2},
    "pfla_softmax": {"output__pfla_softmax__start": "softplus"},
    "strongermax": {"output__strongermax__strength": 2.0, "output__strongermax__clamp": True},
}
"""Of a variant as the output, other than its defaults."""


def logits_before(trainer: Trainer, member: Member, tokens: torch.Tensor, small: Make) -> torch.Tensor:
    """What a model has before its output distribution: that of the same weights with a softmax there."""
    plain = Trainer(small(seed=member.config.train.seed), trainer.corpus, torch.float64)
    twin = plain.add(small(seed=member.config.train.seed))
    return plain.logits(twin, tokens)


@pytest.mark.parametrize("name", outputs())
def test_scores_are_those_of_the_softmax_that_a_variant_is(name: str) -> None:
    for changes in ({}, {own.rpartition("__")[2]: value for own, value in FIELDS.get(name, {}).items()}):
        variant, logits = variants()[name](**changes), normal(3, 40, scale=4)
        probabilities = torch.softmax(variant.scores(logits), dim=-1)
        oracle = torch.tensor([ORACLES[name](variant, row) for row in logits.tolist()], dtype=torch.float64)
        torch.testing.assert_close(probabilities, oracle, rtol=1e-12, atol=1e-15)
        weights = variant.weights(logits, torch.ones(3, 40, dtype=torch.bool))
        torch.testing.assert_close(probabilities, weights, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("size", [1.0, 1e4], ids="{:g}".format)
def test_a_loss_and_its_gradient_are_finite_at_logits_of_any_size(name: str, size: float) -> None:
    logits = (normal(2, 20, dtype=torch.float32) * size).requires_grad_()
    loss = -torch.log_softmax(variants()[name]().scores(logits), dim=-1)[:, 3].sum()
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", OTHERS)
def test_the_loss_is_minus_the_logarithm_of_what_the_variant_gives(name: str, small: Make, corpus: Corpus) -> None:
    config = small(softmax_variant_output=name, **FIELDS.get(name, {}))
    trainer = Trainer(config, corpus, torch.float64)
    member = trainer.add(config)
    window = corpus.windows("tuning", config.model.block_size, 1)
    before = logits_before(trainer, member, torch.from_numpy(window[:, :-1]).long(), small)[0]
    rows = [ORACLES[name](config.output, row) for row in before.double().tolist()]
    expected = [-math.log(row[target]) for row, target in zip(rows, window[0, 1:].tolist(), strict=True)]
    found = float(trainer.window_losses([member], window)[0, 0])
    assert found == pytest.approx(sum(expected) / len(expected), abs=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_members_of_a_stack_train_as_alone_with_numbers_of_their_own(name: str, small: Make, corpus: Corpus) -> None:
    numbers = [spec.name for spec in all_specs().values() if spec.name.startswith(f"output.{name}.") and spec.is_scalar]
    ends = [
        {n.replace(".", "__"): getattr(all_specs()[n].declared.search, end) for n in numbers} for end in ("low", "high")
    ]
    configs = [
        small(softmax_variant_output=name, softmax_variant=variant, seed=seed, **fields)
        for seed, (variant, fields) in enumerate([("softmax", ends[0]), ("constantmax", ends[1]), ("softmax", ends[1])])
    ]
    trainer = Trainer(configs[0], corpus)
    members = [trainer.add(config) for config in configs]
    trainer.step(3)
    for config, member in zip(configs, members, strict=True):
        alone = Trainer(config, corpus)
        alone.add(config)
        alone.step(3)
        assert torch.equal(alone.rows()[0], trainer.rows()[trainer.members.index(member)])


def test_members_with_other_distributions_are_of_another_bucket(small: Make, corpus: Corpus) -> None:
    trainer = Trainer(small(), corpus)
    with pytest.raises(TunemaxError, match="softmax_variant_output = ssmax: members stacked here have softmax"):
        trainer.add(small(softmax_variant_output="ssmax"))


def test_samples_are_drawn_from_it(small: Make, corpus: Corpus) -> None:
    """A strength of nearly nothing is an even distribution; one that is large takes the likeliest."""
    found = {}
    for strength in (1e-3, 1e3):
        config = small(softmax_variant_output="ssmax", output__ssmax__strength=strength)
        trainer = Trainer(config, corpus)
        text = generate(trainer, trainer.add(config), [10], 40, count=4, seed=3)
        greedy = generate(trainer, trainer.members[0], [10], 40, Choice(temperature=0), count=4)
        found[strength] = (text == greedy).mean()
    assert found[1e-3] < 0.2
    assert found[1e3] == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("entmax15", "it gives zeros, and a token that had probability 0 is an infinite loss"),
        ("sparsemax", "it gives zeros"),
        ("softpick", "it gives zeros"),
        ("ste_argmax", "it gives zeros"),
        ("consmax", "it looks at one logit at a time, so that probabilities would not add up to 1"),
        ("softmax1", "its probabilities would not add up to 1"),
        ("sofermax", "no such variant; did you mean `softermax`?"),
    ],
)
def test_what_is_no_distribution_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(TunemaxError) as refused:
        Config.of({"softmax_variant_output": name})
    assert f"softmax_variant_output = {name}: {reason}" in str(refused.value)


def test_its_fields_are_told_apart_from_those_of_attention() -> None:
    both = {"softmax_variant": "ssmax", "softmax_variant_output": "ssmax", "ssmax.strength": 0.5}
    config = Config.of({**both, "output.scalable_softmax.strength": 0.25})
    assert (config.softmax.strength, config.output.strength) == (0.5, 0.25)  # type: ignore[attr-defined]
    assert Config.of(config.flat()) == config
    identities = {Config.of({**both, "output.ssmax.strength": value}).identity for value in (0.25, 0.5)}
    assert len(identities) == 2
    with pytest.raises(TunemaxError, match=r"output\.strongermax\.obo: no such field"):
        Config.of({"softmax_variant_output": "strongermax", "output.strongermax.obo": 1.0})


def test_a_number_of_it_can_change_while_a_training_runs(small: Make, corpus: Corpus) -> None:
    config = small(
        softmax_variant="strongermax", strongermax__learn_temperature=True, softmax_variant_output="strongermax"
    )
    trainer = Trainer(config, corpus)
    member = trainer.add(config)
    before = trainer.rows()
    trainer.set(member, "output.strongermax.temperature", 2.0)
    assert torch.equal(trainer.rows(), before), "the temperature of attention is another one"
    assert member.values["output.strongermax.temperature"] == 2.0
    assert trainer.evaluate()[member] > 0
