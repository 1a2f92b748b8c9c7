"""What members write: against a loop that reads every window whole, whoever stands beside them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.feedback import writing
from tunemax.gpt.feedback.writing import Plan
from tunemax.gpt.trainer import Member, Trainer

Small = Callable[..., Config]

ON: dict[str, Any] = {"feedback_share": 0.5, "feedback_every": 5, "feedback_pool": 6, "learning_rate": 1e-2}
MIXED: list[dict[str, Any]] = [
    {},
    {"seed": 2, "softmax_variant": "constantmax", "feedback_temperature": 0.7},
    {"seed": 3, "feedback_noise": 0.2, "feedback_share": 0.3, "dropout": 0.2},
    {"seed": 4, "softmax_variant": "polymax", "feedback_filter": "likelihood", "feedback_prompt": 0.25},
    {"seed": 5, "softmax_variant": "strongermax", "feedback_filter": "novelty", "feedback_ngram": 4},
    {"seed": 6, "softmax_variant": "softplus", "feedback_pool": 3, "feedback_every": 4, "feedback_prompt": 0.0},
    {"seed": 7, "feedback_share": 0.0},
    {"seed": 8, "feedback_share": 0.75, "feedback_prompt": 0.99, "data_start": 0.4},
]
SHAPES: dict[str, dict[str, Any]] = {
    "as usual": {},
    "rotary, post, odd sizes": {
        "position": "rotary",
        "norm_position": "post",
        "n_embd": 20,
        "n_head": 2,
        "block_size": 13,
        "batch_size": 5,
    },
}


def stack(configs: list[Config], corpus: Corpus, steps: int) -> tuple[Trainer, list[Member]]:
    trainer = Trainer(configs[0], corpus)
    members = [trainer.add(config) for config in configs]
    trainer.step(steps)
    return trainer, members


def plainly(trainer: Trainer, member: Member, plan: Plan) -> tuple[list[list[int]], list[float]]:
    """Windows and the mean log-likelihood of what is written of them, each token from the whole of what is before."""
    windows, likelihood = [], []
    for prompt, at, strange in zip(plan.prompts.tolist(), plan.at.tolist(), plan.strange.tolist(), strict=True):
        window, total = list(prompt), 0.0
        for place, instead in zip(at, strange, strict=True):
            logits = trainer.logits(member, torch.tensor([window]))[0, -1].double()
            weights = (logits / plan.temperature).softmax(-1)
            token = next(i for i, end in enumerate(weights.cumsum(0).tolist()) if end > place)
            window.append(token if instead < 0 else instead)
            total += math.log(logits.softmax(-1)[window[-1]])
        windows.append(window)
        likelihood.append(total / len(at))
    return windows, likelihood


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("fields", MIXED[:4], ids=str)
def test_a_token_follows_from_all_that_is_before_it(
    small: Small, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, shape: dict[str, Any], fields: dict[str, Any]
) -> None:
    config = small(**{**ON, **shape, **fields, "feedback_filter": "none"})
    trainer, (member,) = stack([config], corpus, 5)
    found = []

    def everything(own: object, windows: Any, likelihood: Any, *rest: object) -> Any:
        found.append(likelihood)
        return np.arange(len(windows))

    monkeypatch.setattr(writing, "kept", everything)
    trainer.write([member])
    windows, likelihood = plainly(trainer, member, Plan.of(member, corpus))
    assert member.pool is not None
    assert member.pool.windows.tolist() == windows
    np.testing.assert_allclose(found[0], likelihood, rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_nobody_writes_otherwise_in_company(
    small: Small, corpus: Corpus, shape: dict[str, Any], assert_same: Callable[..., None]
) -> None:
    configs = [small(**{**ON, **shape, **fields}) for fields in MIXED]
    trainer, members = stack(configs, corpus, 13)
    losses = trainer.evaluate()
    for config, member in zip(configs, members, strict=True):
        alone, (by_itself,) = stack([config], corpus, 13)
        assert_same(trainer.snapshot(member), alone.snapshot(by_itself))
        assert losses[member] == alone.evaluate()[by_itself]
    assert sum("feedback" in trainer.snapshot(member).tensors for member in members) == len(MIXED) - 1


def test_more_windows_than_a_pass_takes_are_written_in_several(
    small: Small, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(**ON)
    pools = []
    for tokens, together in ((writing.TOKENS, writing.MEMBERS), (2 * 16, 2)):
        monkeypatch.setattr(writing, "TOKENS", tokens)
        monkeypatch.setattr(writing, "MEMBERS", together)
        _, members = stack([config.replace({"seed": seed}) for seed in range(3)], corpus, 6)
        pools.append([member.pool.windows.tolist() for member in members if member.pool])
    assert pools[0] == pools[1]
    assert len(pools[0]) == 3


def test_prompts_are_of_its_own_part_of_the_text_and_noise_is_of_its_tokens(small: Small, corpus: Corpus) -> None:
    config = small(**ON, data_start=0.5, feedback_noise=0.5)
    _, (member,) = stack([config], corpus, 5)
    own = corpus.train[len(corpus.train) // 2 :].tolist()
    runs = {tuple(own[place : place + 8]) for place in range(len(own))}
    plan = Plan.of(member, corpus)
    assert all(tuple(prompt) in runs for prompt in plan.prompts.tolist())
    replaced = plan.strange[plan.strange >= 0]
    assert 0.2 < len(replaced) / plan.strange.numel() < 0.8
    assert set(replaced.tolist()) <= set(own)
    other = Plan.of(Member(config.replace({"seed": 9}), config.held(), iteration=5), corpus)
    later = Plan.of(Member(config, config.held(), iteration=10), corpus)
    assert not (other.prompts == plan.prompts).all()
    assert not (later.prompts == plan.prompts).all()
    assert not (later.at == plan.at).any()


def test_a_low_temperature_writes_what_is_likely(small: Small, corpus: Corpus) -> None:
    found = []
    for temperature in (0.1, 1.0, 5.0):
        config = small(**{**ON, "feedback_temperature": temperature, "feedback_pool": 32})
        trainer, (member,) = stack([config], corpus, 5)
        trainer.write([member])
        assert member.pool is not None
        logits = trainer.logits(member, member.pool.windows[:, :-1])[:, 8:]
        likely = logits.log_softmax(-1).gather(-1, member.pool.windows[:, 9:, None])
        found.append(float(likely.mean()))
    assert found[0] > found[1] > found[2]
