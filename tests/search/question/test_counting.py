"""Counts in words."""

from __future__ import annotations

import pytest

from tunemax.search.question.budget import told
from tunemax.search.question.counting import counted


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [
        (0, "study", "0 studies"),
        (1, "study", "1 study"),
        (1, "fresh seed", "1 fresh seed"),
        (81984, "run", "81,984 runs"),
    ],
)
def test_one_is_singular_and_many_are_grouped(count: int, noun: str, words: str) -> None:
    assert counted(count, noun) == words


@pytest.mark.parametrize(
    ("unit", "amount", "words"),
    [
        ("horizon", 1, "1 iteration"),
        ("horizon", 2000, "2,000 iterations"),
        ("tokens", 1, "1 token"),
        ("flops", 1.5e12, "1.5e+12 FLOPs"),
        ("seconds", 1.0, "1 second of training"),
        ("seconds", 0.5, "0.5 seconds of training"),
    ],
)
def test_an_amount_of_work_is_counted_too(unit: str, amount: float, words: str) -> None:
    assert told(unit, amount) == words
