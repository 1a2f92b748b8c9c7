"""Which windows of a pool are kept: those of some ranks, by how likely or how new they are."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tunemax.gpt.data.corpus import Corpus
from tunemax.gpt.feedback.fields import Feedback
from tunemax.gpt.tokenizers import Ids
from tunemax.gpt.train_config import TrainConfig

Scores = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Odd, with bits all over (2⁶⁴ over the golden ratio): n-grams are told apart by 64 bits of a polynomial in it."""
MOST = 2**24
"""Of a longer text so many tokens are known, from the beginning of its part on: eight bytes of memory each."""
INDEXES = 8
"""Texts whose n-grams are kept in memory, each for one n."""


def kept(own: Feedback, windows: Ids, likelihood: Scores, corpus: Corpus, train: TrainConfig) -> npt.NDArray[np.int64]:
    """Places of the windows (n, T + 1) that are kept, in ascending order. likelihood: (n,); where it is not finite the
    member has diverged, and the window is not kept."""
    begin, end = own.kept
    scores = likelihood
    if own.feedback_filter == "novelty":
        known = known_ngrams(corpus, own.feedback_ngram, train.data_start, train.data_end)
        scores = novelty(windows, own.prompt(windows.shape[1] - 1), own.feedback_ngram, known)
    ranked = np.argsort(scores, kind="stable")[begin:end]
    return np.sort(ranked[np.isfinite(likelihood[ranked])])


def novelty(windows: Ids, prompt: int, n: int, known: Hashes) -> Scores:
    """Of each window (T + 1,) the share of its n-grams that are not known, among those that end behind the prompt."""
    hashes = np.stack([ngrams(window, n) for window in windows])  # (windows, T + 2 − n); the first ends at n − 1
    written = hashes[:, max(prompt - n + 1, 0) :]
    return np.asarray((~np.isin(written, known)).mean(axis=1))


@lru_cache(maxsize=INDEXES)
def known_ngrams(corpus: Corpus, n: int, start: float, end: float) -> Hashes:
    """Hashes of the n-grams of a part of the training text, each once, in ascending order."""
    first, last = round(start * len(corpus.train)), round(end * len(corpus.train))
    return np.unique(ngrams(corpus.train[first : min(last, first + MOST)], n))


def ngrams(tokens: npt.NDArray[np.integer], n: int) -> Hashes:
    """Hashes of all n-grams of tokens (m,), in order: (m − n + 1,)."""
    count = len(tokens) - n + 1
    hashes = np.zeros(max(count, 0), dtype=np.uint64)
    for place in range(n if count > 0 else 0):
        hashes *= MULTIPLIER
        hashes += tokens[place : place + count].astype(np.uint64) + np.uint64(1)
    return hashes
