"""What feedback comes to in whole windows and tokens, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.feedback.fields import Feedback, drawn_at, drawn_between

Small = Callable[..., Config]


@given(
    share=st.integers(0, 99).map(lambda hundredths: hundredths / 100),
    batch_size=st.integers(2, 64),
    begin=st.integers(0, 10**6),
)
def test_a_share_is_kept_to_a_window_and_one_of_each_batch_is_of_the_text(
    share: float, batch_size: int, begin: int
) -> None:
    now = [drawn_at(share, batch_size, i) for i in range(begin, begin + 100)]
    assert max(now) - min(now) <= 1
    assert max(now) < batch_size
    if share * batch_size <= batch_size - 1:
        exact = 100 * Fraction(str(share)) * batch_size
        assert abs(sum(now) - exact) < 1 + 1e-3
        assert sum(now) == drawn_between(share, batch_size, begin, begin + 100)


@given(low=st.floats(0, 1), high=st.floats(0, 1), pool=st.integers(1, 300))
def test_some_ranks_of_every_pool_are_kept(low: float, high: float, pool: int) -> None:
    if low >= high:
        return
    fields = {"feedback_filter": "novelty", "feedback_low": low, "feedback_high": high, "feedback_pool": pool}
    begin, end = Feedback(**fields).kept
    assert 0 <= begin < end <= pool
    assert begin <= low * pool
    assert end >= high * pool


def test_a_window_has_a_prompt_and_something_written() -> None:
    shares = (0.0, 0.01, 0.5, 0.99)
    assert [Feedback(feedback_prompt=share).prompt(16) for share in shares] == [1, 1, 8, 16]
    assert [Feedback(feedback_prompt=share).prompt(1) for share in shares] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"feedback_share": 1}, "feedback_share = 1: expected a number ≥ 0 and < 1"),
        (
            {"feedback_share": 0.9},
            "feedback_share = 0.9: leaves less than one window of the text in batch_size = 4; take at most 0.75",
        ),
        (
            {"feedback_share": 0.917, "batch_size": 12},
            "feedback_share = 0.917: leaves less than one window of the text in batch_size = 12; take at most 0.916",
        ),
        (
            {"feedback_share": 0.1, "batch_size": 1},
            "feedback_share = 0.1: leaves less than one window of the text in batch_size = 1; take 0, or a larger "
            "batch_size",
        ),
        ({"feedback_every": 0}, "feedback_every = 0: expected a whole number ≥ 1"),
        ({"feedback_temperature": 0}, "feedback_temperature = 0: expected a number > 0 and ≤ 100"),
        ({"feedback_noise": 1.5}, "feedback_noise = 1.5: expected a number ≥ 0 and ≤ 1"),
        ({"feedback_filter": "novel"}, "feedback_filter = novel: expected one of none, likelihood, novelty"),
        (
            {"feedback_share": 0.5, "feedback_filter": "novelty", "feedback_low": 0.8},
            "feedback_low = 0.8 is not below feedback_high = 0.75; change one of them",
        ),
        (
            {"feedback_share": 0.5, "feedback_filter": "novelty", "feedback_ngram": 17},
            "feedback_ngram = 17: longer than block_size = 16; take at most so many",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(small: Small, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TunemaxError) as refusal:
        small(**fields)
    assert str(refusal.value) == message


def test_what_means_nothing_restricts_nothing(small: Small) -> None:
    small(feedback_filter="novelty", feedback_low=0.9, feedback_ngram=99)
    small(feedback_share=0.5, feedback_low=0.9)
    assert small(feedback_every=3, feedback_filter="novelty", feedback_noise=0.5).identity == small().identity


def test_a_training_that_ends_before_anything_is_written_is_refused(small: Small) -> None:
    own = small(feedback_share=0.5, feedback_every=40).feedback
    own.check_horizon(41)
    with pytest.raises(TunemaxError) as refusal:
        own.check_horizon(40)
    assert str(refusal.value) == (
        "feedback_every = 40: a training of 40 iterations ends before anything is written; take less than 40"
    )
    small().feedback.check_horizon(1)


def test_feedback_that_changes_nothing_has_no_identity_of_its_own(small: Small) -> None:
    on: dict[str, Any] = {"feedback_share": 0.5, "feedback_every": 10}
    never = small(feedback_share=0.5, feedback_every=40)
    assert never.identity == small().identity
    assert small(**on).identity != small().identity
    assert small(feedback_share=1e-3, feedback_every=10).identity == small().identity, "not a window until the horizon"
    everything = {"feedback_filter": "novelty", "feedback_low": 0.001, "feedback_high": 0.999}
    assert small(**on, **everything).identity == small(**on).identity
    assert small(**on, feedback_prompt=0.49).identity == small(**on).identity, "8 tokens of 16"
    some = {"feedback_filter": "novelty", "feedback_high": 0.9, "feedback_pool": 8}
    assert small(**on, **some, feedback_low=0.26).identity == small(**on, **some, feedback_low=0.3).identity
    assert small(**on, **some, feedback_low=0.4).identity != small(**on, **some, feedback_low=0.3).identity
