"""Budgets that differ so much that ranks are no fair ones."""

from __future__ import annotations

import pytest

from tunemax.search.results.budgets import unequal_tokens, unequal_trials


@pytest.mark.parametrize(
    ("trials", "told"),
    [
        (
            {"softmax": 34, "polymax": 24, "softermax": 24},
            "Unequal budgets: softmax has had 34 trials, the others 24; ranks favour it.",
        ),
        (
            {"softmax": 24, "polymax": 12, "softermax": 24},
            "Unequal budgets: polymax has had 12 trials, the others 24; ranks are against it.",
        ),
        (
            {"softmax": 34, "polymax": 24},
            "Unequal budgets: softmax 34, polymax 24 trials; ranks favour those that have had more.",
        ),
        (
            {"a": 10, "b": 30, "c": 20, "d": 20},
            "Unequal budgets: b 30, c 20, d 20, a 10 trials; ranks favour those that have had more.",
        ),
        (
            {"softmax": 2, "polymax": 0},
            "Unequal budgets: softmax 2, polymax 0 trials; ranks favour those that have had more.",
        ),
        ({"softmax": 24, "polymax": 24}, None),
        ({"softmax": 24, "polymax": 22}, None),  # two that repeated others
        ({"softmax": 3, "polymax": 2}, None),  # one that has failed
        ({"softmax": 24}, None),
        ({}, None),
    ],
)
def test_other_numbers_of_trials_are_told_once_they_matter(trials: dict[str, int], told: str | None) -> None:
    assert unequal_trials(trials) == told


def test_other_numbers_of_tokens_at_equally_many_iterations_are_told() -> None:
    iterations = {"8": 100.0, "32": 100.0}
    told = (
        "Unequal work: a trial of 32 has 4.0 times the tokens of one of 8, at equally many iterations; ranks favour it."
    )
    assert unequal_tokens({"8": 12_800.0, "32": 51_200.0}, iterations) == told
    assert unequal_tokens({"8": 12_800.0, "32": 13_000.0}, iterations) is None
    assert unequal_tokens({"8": 51_200.0, "32": 12_800.0}, {"8": 400.0, "32": 25.0}) is None, "something else is equal"
    assert unequal_tokens({}, {}) is None
