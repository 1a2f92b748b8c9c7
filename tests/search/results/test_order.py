"""Whether a repeat would give the same order: when it is said, how often wrongly, and in which words."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.search.results.order import ERROR, LEAST, LEVEL, Search, apart, chance, groups, sentence

losses = st.lists(st.floats(0.5, 6.0), min_size=LEAST, max_size=9)
several = st.lists(losses, min_size=2, max_size=6)


def search(results: list[float], startup: int | None = None) -> Search:
    """In the order in which they came. startup: random ones among them; None: all."""
    begun = None if startup is None else min(results[:startup], default=math.inf)
    return Search(sorted(results), len(results), begun)


# ---- the rule --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "other"), [(3, 3), (4, 2), (1, 5), (6, 4)])
def test_the_chance_is_that_of_all_ways_to_deal_results_to_two_sides(own: int, other: int) -> None:
    places = list(itertools.combinations(range(own + other), own))
    for ahead in range(own + other + 1):
        best = set(range(ahead))
        one_side = sum(best <= set(mine) or not best & set(mine) for mine in places)
        expected = 1.0 if ahead == 0 else one_side / len(places)
        assert chance(ahead, own, other) == pytest.approx(expected)


@given(several, st.randoms())
@settings(deadline=None, max_examples=50)
def test_the_order_of_candidates_and_results_does_not_matter(results: list[list[float]], random: Any) -> None:
    names = [str(index) for index in range(len(results))]
    shuffled = random.sample(names, len(names))
    there = groups([search(each) for each in results])
    again = groups([search(random.sample(results[int(name)], len(results[int(name)]))) for name in shuffled])
    assert there is not None
    assert again is not None
    best = {name: min(results[int(name)]) for name in names}
    if len(set(best.values())) == len(best):
        assert [{names[index] for index in group} for group in there] == [
            {shuffled[index] for index in group} for group in again
        ]


@given(several)
@settings(deadline=None, max_examples=50)
def test_a_search_whose_every_result_is_better_is_told_apart_only_by_enough_of_them(results: list[list[float]]) -> None:
    ladder = [search([10.0 * rank + value for value in each]) for rank, each in enumerate(results)]
    found = groups(ladder)
    assert found is not None
    for before, after in itertools.pairwise(range(len(ladder))):
        together = any({before, after} <= set(group) for group in found)
        sure = chance(len(ladder[before].losses), ladder[before].trials, ladder[after].trials) * (len(ladder) - 1)
        assert together == (sure >= LEVEL)


def test_a_lead_that_is_no_larger_than_what_searching_has_gained_may_be_luck() -> None:
    late = [2.5, 2.4, *(2.1 + 0.001 * index for index in range(10))]
    behind = [2.5, 2.4, *(2.2 + 0.001 * index for index in range(10))]
    assert apart(search(late), search(behind)), "if they were independent draws"
    assert not apart(search(late, startup=2), search(behind, startup=2)), "0.3 was gained, and 0.1 is the lead"
    far = [each + 0.4 for each in behind]
    assert apart(search(late, startup=2), search(far, startup=2))


def test_a_search_that_began_with_nothing_has_gained_anything() -> None:
    found = Search([2.0] * 8, 12, math.inf)
    assert not apart(found, Search([3.0] * 8, 12, 3.1))


def test_trials_that_were_pruned_count_as_tried() -> None:
    """A pruner that stops all but the best of one candidate makes it no better."""
    few, many = Search([2.0 + 0.01 * index for index in range(4)], 24), Search([2.1] * 16, 24)
    assert not apart(few, many)
    assert apart(Search([2.0 + 0.01 * index for index in range(9)], 24), many)


@pytest.mark.parametrize("results", [[], [[1.0, 2.0, 3.0, 4.0]], [[1.0, 2.0, 3.0, 4.0], [4.0, 5.0, 6.0]]])
def test_of_too_few_results_nothing_is_said(results: list[list[float]]) -> None:
    assert groups([search(each) for each in results]) is None


def test_candidates_without_a_result_are_last_and_not_told_apart() -> None:
    none = Search([], 8)
    assert groups([none, search([1.0 + 0.01 * index for index in range(8)]), none]) == [[1], [0, 2]]


# ---- how often it errs -----------------------------------------------------------------------------------------------


TRIALS = 14


def independent(rng: np.random.Generator, trials: int) -> Search:
    return search([float(value) for value in rng.normal(2.2, 0.1, trials)])


@pytest.fixture(scope="module")
def learned() -> list[Search]:
    """Searches of one law by a sampler that learns, and so draws again and again where it has been lucky."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=4))
        for _ in range(TRIALS):
            trial = study.ask()
            x, y = (math.log(trial.suggest_float(name, 1e-4, 1e-1, log=True) / 6e-3) for name in ("rate", "ratio"))
            study.tell(trial, 2.2 + 0.04 * x**2 + 0.02 * y**2 + 0.004 * rng.normal())
        found.append(search([trial.values[0] for trial in study.trials], startup=4))
    return found


def told_apart(searches: list[Search]) -> bool:
    found = groups(searches)
    return found is not None and len(found) > 1


@pytest.mark.parametrize("candidates", [2, 4, 7])
def test_equal_candidates_are_hardly_ever_told_apart(candidates: int, learned: list[Search]) -> None:
    rng, repetitions = np.random.default_rng(1), 800
    few = [[independent(rng, 16) for _ in range(candidates)] for _ in range(repetitions)]
    one_more = [[independent(rng, 34), *few_[1:]] for few_ in few]
    chosen = [rng.choice(len(learned), candidates, replace=False) for _ in range(repetitions)]
    for questions in (few, one_more, [[learned[index] for index in indices] for indices in chosen]):
        wrong = sum(map(told_apart, questions)) / repetitions
        assert wrong < ERROR + 2 * math.sqrt(ERROR / repetitions), "the count may be two standard deviations off"


def test_one_that_is_far_ahead_is_told_apart(learned: list[Search]) -> None:
    rng = np.random.default_rng(1)
    pairs = [(independent(rng, 24), independent(rng, 24)) for _ in range(100)]
    pairs += [(learned[one], learned[other]) for one, other in (rng.choice(50, 2, replace=False) for _ in range(100))]
    seen = []
    for ahead, behind in pairs:
        begun = None if behind.begun is None else behind.begun + 0.5
        later = Search([loss + 0.5 for loss in behind.losses], behind.trials, begun)
        seen.append(groups([later, ahead]) == [[1], [0]])
    assert sum(seen[:100]) > 95
    assert sum(seen[100:]) > 85


# ---- in words --------------------------------------------------------------------------------------------------------


def at(*bests: float) -> list[Search]:
    """Independent searches of 20 trials with these best losses, close to one another."""
    return [search([best + 0.001 * index for index in range(20)]) for best in bests]


CHANGE = "The order would probably change in a repeat: "
CLOSE = "more trials or a longer horizon may"


@pytest.mark.parametrize(
    ("bests", "told"),
    [
        ((1.0, 2.0), "The order would probably be the same in a repeat."),
        ((1.0, 1.001), f"{CHANGE}one search does not tell a and b apart; {CLOSE}."),
        (
            (1.0, 1.001, 1.002),
            f"{CHANGE}one search tells none of them apart; {CLOSE}.",
        ),
        ((2.0, 1.0, 2.001), f"{CHANGE}one search does not tell a and c apart; {CLOSE}."),
        (
            (1.0, 1.001, 2.0, 2.001, 2.002),
            f"{CHANGE}one search does not tell a and b apart, nor c, d and e; {CLOSE}.",
        ),
    ],
)
def test_what_a_repeat_would_do_is_one_sentence(bests: tuple[float, ...], told: str) -> None:
    assert sentence("abcde"[: len(bests)], at(*bests), "The order") == told


def test_nothing_is_said_of_one() -> None:
    assert sentence(["a"], at(1.0), "The order") is None
