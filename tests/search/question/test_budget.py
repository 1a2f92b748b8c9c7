"""A budget in its unit: iterations of a trial, and where it is looked at on its way."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemax.gpt.config import Config
from tunemax.gpt.cost import Cost
from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.budget import Budget, Course
from tunemax.search.question.named import STORED
from tunemax.search.question.pruners import Asha

SIZES = st.fixed_dictionaries(
    {"batch_size": st.integers(1, 64), "block_size": st.integers(1, 128), "n_layer": st.integers(1, 4)}
)


def budget(**work: object) -> Budget:
    return Budget.model_validate({"trials": 1, **work})


def looks(course: Course) -> list[int]:
    """The iterations at which a trial is evaluated."""
    found = [0]
    while found[-1] < course.iterations:
        found.append(course.next(found[-1]))
    return found[1:]


@given(SIZES, st.integers(10**4, 10**8))
def test_tokens_and_operations_are_spent_to_the_nearest_iteration(sizes: dict[str, int], work: int) -> None:
    config = Config.of(sizes)
    cost = Cost.of(config, 65)
    assert abs(budget(tokens=work).iterations(config, 65) * cost.tokens - work) <= cost.tokens / 2
    flops = 1e8 * work
    assert abs(budget(flops=flops).iterations(config, 65) * cost.flops - flops) <= cost.flops * 0.501


def test_less_than_an_iteration_is_refused() -> None:
    config = Config.of({"batch_size": 4, "block_size": 8, "n_layer": 1, "n_embd": 16})
    assert budget(tokens=32).iterations(config, 65) == 1
    with pytest.raises(TunemaxError, match=r"budget\.tokens = 31 is below one iteration, which takes 32 tokens"):
        budget(tokens=31).iterations(config, 65)
    with pytest.raises(TunemaxError, match=r"budget.flops = 1000 is below one iteration, which takes [\d.e+]+ FLOPs"):
        budget(flops=1e3).iterations(config, 65)
    with pytest.raises(TunemaxError, match=r"budget\.seconds = 0.1 is below one iteration, which takes 0.3 seconds"):
        budget(seconds=0.1).spread(0.3)


@given(st.integers(1, 3000), st.integers(1, 500))
def test_with_a_horizon_steps_are_iterations(horizon: int, every: int) -> None:
    course = budget(horizon=horizon).course(Config.of({"max_iters": horizon, "eval_interval": every}))
    due = [i for i in range(1, horizon + 1) if i % every == 0 or i == horizon]
    assert looks(course) == due
    assert [course.step(iteration) for iteration in due] == due
    assert all(course.step(i) is None for i in range(1, horizon) if i % every)
    assert [course.iteration(step) for step in range(horizon + 1)] == list(range(horizon + 1))
    assert course.last(due[-1] - 1) == (due[-2] if len(due) > 1 else 0)


@given(st.lists(st.integers(1, 5000), min_size=2, max_size=5), st.integers(1, 40), st.sampled_from(["tokens", "flops"]))
def test_trials_are_looked_at_after_equal_work(iterations: list[int], count: int, unit: str) -> None:
    asked = budget(**{unit: 10**6, "looks": count})
    reported = []
    for length in iterations:
        course = asked.course(Config.of({"max_iters": length}))
        steps = [course.step(iteration) for iteration in looks(course)]
        assert None not in steps
        assert steps[-1] == course.steps == asked.steps
        assert all(a < b for a, b in pairwise(looks(course)))
        for step in map(int, filter(None, steps)):
            exact = step * length / course.steps
            assert abs(course.iteration(step) - exact) <= max(0.5, 1 - exact) + 1e-9
        reported.append(set(steps))
        if length >= 2 * count:
            assert len(steps) == count
    longest = max(reported, key=len)
    assert all(steps <= longest for steps in reported if len(longest) == count), "a step is one in all of them"


def test_a_pruner_asks_trials_of_other_lengths_at_the_same_steps() -> None:
    asked = budget(tokens=120_000, looks=12)
    asha = Asha()
    at = []
    for length in (40, 333):
        course = asked.course(Config.of({"max_iters": length}))
        steps = [step for iteration in looks(course) if (step := course.step(iteration))]
        at.append([step for step in steps if asha.asked_at(step, course.steps)])
    assert at[0] == at[1] == [10_000 * look for look in range(4, 12)]


def test_a_definition_from_before_keeps_the_time_of_a_run() -> None:
    old = {"trials": 3, "horizon": 20, "seconds": 60.0}
    stored = Budget.model_validate(old, context=STORED)
    assert (stored.horizon, stored.seconds, stored.run_seconds) == (20, None, 60.0)
    assert Budget.model_validate_json(stored.model_dump_json(), context=STORED) == stored
    with pytest.raises(ValueError, match="run_seconds"):
        Budget.model_validate(old)
    new = budget(seconds=60)
    assert Budget.model_validate_json(new.model_dump_json(), context=STORED) == new


@pytest.mark.parametrize(
    ("work", "words", "there"),
    [
        ({"horizon": 1000}, "1,000 iterations", "iteration 500"),
        ({"tokens": 2e6}, "2,000,000 tokens", "1,000,000 tokens"),
        ({"tokens": 3e12}, "3,000,000,000,000 tokens", "50 % of the tokens"),
        ({"flops": 1.5e12}, "1.5e+12 FLOPs", "50 % of the FLOPs"),
        ({"seconds": 30}, "30 seconds of training", "50 % of the seconds of training"),
    ],
)
def test_it_is_told_in_its_unit(work: dict[str, float], words: str, there: str) -> None:
    asked = budget(**work)
    assert asked.words == words
    assert asked.at(asked.steps // 2) == there
    assert asked.steps < 2**31, "a database's integer"
    assert asked.times(4, 12).amount == 4 * asked.amount
    assert asked.times(4, 12).trials == 12
