"""Sampling: repeatable, within the context, and without a trace in the training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.random import generator
from tunemax.gpt.sample import Choice, chosen, generate, narrowed, stream
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
    written = generate(trainer, member, corpus.encode("the "), 80, Choice(temperature=0.5))
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
    kinds = [len(np.unique(generate(*trained, [32], 60, Choice(temperature), count=4))) for temperature in (0, 0.5, 5)]
    assert kinds[0] <= kinds[1] < kinds[2]
    likeliest = Choice(temperature=0)
    assert (generate(*trained, [32], 20, likeliest) == generate(*trained, [32], 20, likeliest, seed=9)).all()
    assert (generate(*trained, [32], 20, likeliest) == generate(*trained, [32], 20, Choice(1e-9))).all()
    assert (generate(*trained, [32], 20, likeliest) == generate(*trained, [32], 20, Choice(top_k=1), seed=9)).all()


def test_a_continuation_is_the_same_however_many_there_are_and_however_long(trained: tuple[Trainer, Member]) -> None:
    three = generate(*trained, [32, 97], 40, count=3, seed=1)
    assert (generate(*trained, [32, 97], 40, seed=1) == three[:1]).all()
    assert (generate(*trained, [32, 97], 15, count=2, seed=1) == three[:2, :15]).all()


def test_a_text_comes_token_by_token(trained: tuple[Trainer, Member]) -> None:
    coming = stream(*trained, [32, 97], 40, count=3, seed=1)
    assert [token.shape for token in (next(coming), next(coming))] == [(3,), (3,)]
    text = np.stack(list(stream(*trained, [32, 97], 40, count=3, seed=1)), axis=1)
    assert (text == generate(*trained, [32, 97], 40, count=3, seed=1)).all()
    assert generate(*trained, [32], 0, count=3).shape == (3, 0)


def test_a_penalty_keeps_a_text_from_repeating_itself(trained: tuple[Trainer, Member]) -> None:
    kinds = [
        len(set(generate(*trained, [32], 12, Choice(temperature=0, repetition_penalty=penalty))[0].tolist()))
        for penalty in (1.0, 1e6)
    ]
    assert kinds[0] < kinds[1] == 12


def test_a_penalty_makes_what_was_seen_less_likely_whatever_the_sign_of_its_logit() -> None:
    logits, seen = torch.tensor([[2.0, 1.5, -1.0, -1.5]]), torch.tensor([[0, 2]])
    (at,) = chosen(logits, seen, Choice(temperature=0, repetition_penalty=1.5), [])
    assert at.item() == 1
    unlikely = torch.tensor([[-2.0, -1.5]])
    assert chosen(unlikely, torch.tensor([[1]]), Choice(temperature=0, repetition_penalty=2.0), []).item() == 0


# ---- what is left out ------------------------------------------------------------------------------------------------

ROWS = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12).filter(any)
CHOICES = st.builds(
    Choice,
    top_k=st.none() | st.integers(1, 12),
    top_p=st.floats(0.01, 1),
    min_p=st.just(0.0) | st.floats(0, 1),
)


@given(row=ROWS, choice=CHOICES)
def test_the_likely_ones_are_kept_by_rule_after_rule(row: list[float], choice: Choice) -> None:
    total = sum(row)
    shares = [value / total for value in row]
    likeliest = sorted(range(len(row)), key=lambda token: (-shares[token], token))
    kept = likeliest[: choice.top_k]
    least, mass = choice.top_p * sum(shares[token] for token in kept), 0.0
    for number, token in enumerate(kept):
        if mass >= least - 1e-12:
            kept = kept[:number]
            break
        mass += shares[token]
    kept = [token for token in kept if shares[token] >= choice.min_p * shares[likeliest[0]]]
    left = narrowed(torch.tensor([shares], dtype=torch.float64), choice)[0].tolist()
    near = {token for token in range(len(row)) if 0 < shares[token] < 1e-9}  # where a sum's rounding decides
    assert {token for token, value in enumerate(left) if value} - near == {t for t in kept if shares[t]} - near
    assert all(value in (0, shares[token]) for token, value in enumerate(left))


@settings(max_examples=30)
@given(row=ROWS, seed=st.integers(0, 10**6))
def test_tokens_are_drawn_as_often_as_they_are_expected(row: list[float], seed: int) -> None:
    shares = torch.tensor([row], dtype=torch.float64)
    shares = shares / shares.sum()
    draw = generator(seed, "test")
    logits = shares.log().clamp(min=-1e30)
    many = chosen(logits.expand(2000, -1), torch.zeros(2000, 1, dtype=torch.long), Choice(), [draw] * 2000)
    found = torch.bincount(many[:, 0], minlength=len(row)) / 2000
    assert (found[shares[0] == 0] == 0).all()
    error = (found - shares[0]).abs()
    assert (error <= 5 * (shares[0] * (1 - shares[0]) / 2000).sqrt() + 1e-3).all()


def test_a_member_that_has_diverged_writes_nothing(small: Small, corpus: Corpus) -> None:
    trainer = Trainer(small(learning_rate=10.0, warmup_fraction=0.0, grad_clip=0.0), corpus)
    member = trainer.add(small(learning_rate=10.0, warmup_fraction=0.0, grad_clip=0.0))
    snapshot = trainer.snapshot(member)
    snapshot.tensors["theta/wte"].fill_(math.nan)
    with pytest.raises(TunemaxError, match="not finite: it has diverged"):
        generate(trainer, trainer.restore(snapshot), [32], 5)


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
        *({"temperature": value} for value in (math.nan, math.inf, -0.5)),
        *({"top_k": value} for value in (0, -1)),
        *({"top_p": value} for value in (math.nan, 0.0, -0.1, 1.1)),
        *({"min_p": value} for value in (math.nan, -0.1, 1.1)),
        *({"repetition_penalty": value} for value in (math.nan, math.inf, 0.0, -1.0)),
        {"tokens": -1},
        {"count": 0},
        {"seed": -1},
    ],
    ids=str,
)
def test_a_number_that_says_nothing_is_refused(trained: tuple[Trainer, Member], given: dict[str, Any]) -> None:
    ((name, value),) = given.items()
    ways = {name: value} if name in ("tokens", "count", "seed") else {"choice": Choice(**given)}
    with pytest.raises(TunemaxError, match=f"{name} = {value}: expected a"):
        stream(*trained, [1], **({"tokens": 2} | ways))  # at once, not when the first token is asked for


def test_more_tokens_than_there_are_cannot_be_chosen_from(trained: tuple[Trainer, Member]) -> None:
    with pytest.raises(TunemaxError, match="top_k = 257: this data has 256 tokens; take at most so many"):
        stream(*trained, [1], 2, Choice(top_k=257))
    assert (generate(*trained, [32], 20, Choice(top_k=256)) == generate(*trained, [32], 20)).all()
