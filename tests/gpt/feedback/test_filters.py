"""Which windows are kept: ranks against plain Python, novelty against sets of tuples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.feedback import filters
from tunemax.gpt.feedback.filters import kept, known_ngrams, ngrams, novelty

Small = Callable[..., Config]
TOKENS = st.lists(st.integers(0, 3), min_size=12, max_size=12)


def tuples(tokens: list[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[place : place + n]) for place in range(len(tokens) - n + 1)]


@given(window=TOKENS, text=TOKENS, n=st.integers(1, 11), prompt=st.integers(1, 11))
@settings(max_examples=60)
def test_novelty_is_the_share_of_ngrams_that_the_text_does_not_have(
    window: list[int], text: list[int], n: int, prompt: int
) -> None:
    known = np.unique(ngrams(np.array(text), n))
    ending_behind_the_prompt = [gram for place, gram in enumerate(tuples(window, n)) if place + n > prompt]
    share = np.mean([gram not in tuples(text, n) for gram in ending_behind_the_prompt])
    assert novelty(np.array([window]), prompt, n, known) == pytest.approx([share])


def test_ngrams_of_all_tokens_are_told_apart(corpus: Corpus) -> None:
    tokens = corpus.train[:3000].tolist()
    for n in (1, 4, 16):
        assert len(np.unique(ngrams(np.array(tokens), n))) == len(set(tuples(tokens, n)))
    assert len(ngrams(np.array([1, 2]), 3)) == 0


def test_of_the_text_a_members_own_part_counts(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    half = round(0.5 * len(corpus.train))
    assert (known_ngrams(corpus, 5, 0.0, 0.5) == np.unique(ngrams(corpus.train[:half], 5))).all()
    assert (known_ngrams(corpus, 5, 0.5, 1.0) == np.unique(ngrams(corpus.train[half:], 5))).all()
    monkeypatch.setattr(filters, "MOST", 100)
    assert (known_ngrams(corpus, 6, 0.5, 1.0) == np.unique(ngrams(corpus.train[half : half + 100], 6))).all()


def test_ranks_from_low_to_high_are_kept_in_the_order_of_writing(small: Small, corpus: Corpus) -> None:
    ranked = {"feedback_share": 0.5, "feedback_pool": 8, "feedback_low": 0.25, "feedback_high": 0.6}
    config = small(**ranked, feedback_filter="likelihood")
    likelihood = np.array([-3.0, -1.0, -7.0, -2.0, -5.0, -0.5, -4.0, -6.0])
    windows = np.zeros((8, 17), dtype=np.int64)
    found = kept(config.feedback, windows, likelihood, corpus, config.train)
    assert likelihood[found].tolist() == [-3.0, -5.0, -4.0], "the third to the fifth, from the least likely on"
    everything = small(feedback_share=0.5, feedback_pool=8).feedback
    assert kept(everything, windows, likelihood, corpus, config.train).tolist() == list(range(8))


def test_what_the_text_has_is_not_novel(small: Small, corpus: Corpus) -> None:
    config = small(feedback_share=0.5, feedback_pool=4, feedback_filter="novelty", feedback_low=0.5, feedback_high=1.0)
    windows = np.stack([corpus.train[place : place + 17] for place in (10, 400, 900, 1300)]).astype(np.int64)
    windows[1, 12:], windows[2, 9:] = 1, 2
    assert kept(config.feedback, windows, np.zeros(4), corpus, config.train).tolist() == [1, 2]


def test_of_a_member_that_has_diverged_nothing_is_kept(small: Small, corpus: Corpus) -> None:
    config = small(feedback_share=0.5, feedback_pool=4)
    likelihood = np.array([-1.0, np.nan, -np.inf, -2.0])
    windows = np.zeros((4, 17), dtype=np.int64)
    assert kept(config.feedback, windows, likelihood, corpus, config.train).tolist() == [0, 3]
