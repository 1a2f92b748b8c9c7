"""A look ahead chooses as if every way had been trained from the start; hypergradients move the rate by their rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tunemax.envs.hypergradient import hypergradient
from tunemax.envs.instances import Instance, find_set
from tunemax.envs.policies import Static
from tunemax.envs.rollouts import lookahead, run
from tunemax.envs.steering import Episode, Steering
from tunemax.envs.task import Task
from tunemax.envs.texts import corpus_of
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.random import key
from tunemax.gpt.trainer import Trainer

Make = Callable[..., Task]
TEXT = {"config": {"dataset": "python_stdlib"}, "disturb": {"layer": True}}


def instances(task: Task, count: int) -> list[Instance]:
    return [find_set("validation").draw(task, index) for index in range(count)]


def from_the_start(task: Task, instance: Instance, actions: list[np.ndarray[Any, Any]]) -> Episode:
    """A training under these actions, with nothing before it."""
    steering = Steering(task)
    steering.start({0: instance})
    for action in actions:
        if steering.running(0):
            steering.advance({0: action})
    return steering.episode(0)


@pytest.mark.parametrize("arguments", [{}, TEXT], ids=["calm", "disturbed"])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_fork_comes_to_what_a_training_from_the_start_comes_to(
    tiny: Make, depth: int, arguments: dict[str, Any]
) -> None:
    task = tiny(**arguments)
    (instance,) = instances(task, 1)
    draw, chosen = np.random.default_rng(key(5, "lookahead", instance.name)), list[Any]()
    for _ in range(0, 3, depth):
        ways = draw.uniform(-1, 1, (3, len(task.dials)))
        ways[0] = 0.0
        tried = [from_the_start(task, instance, [*chosen, *[way] * depth]) for way in ways]
        chosen += [ways[min(range(3), key=lambda i: tried[i].loss)]] * depth
    expected = from_the_start(task, instance, chosen)
    (found,) = lookahead(task, [instance], depth, breadth=3, seed=5)
    assert (found.loss, found.test_loss, found.total) == (expected.loss, expected.test_loss, expected.total)
    assert found.history == tuple(expected.history)
    assert found.member_steps == 3 * task.horizon


def test_looks_are_seeded_and_do_not_depend_on_the_slots(tiny: Make) -> None:
    task = tiny(vary={"n_embd": [8, 16], "horizon": [8, 12]})
    chosen = instances(task, 4)
    narrow, wide = (lookahead(task, chosen, 1, 2, seed=1, slots=slots) for slots in (1, 8))
    assert narrow == wide
    assert [outcome.instance for outcome in narrow] == [each.name for each in chosen]
    assert [outcome.member_steps for outcome in narrow] == [2 * each.horizon for each in chosen]
    assert lookahead(task, chosen, 1, 2, seed=2) != narrow


def test_a_look_mends_a_wrong_start_and_outlives_what_diverges(tiny: Make) -> None:
    task = tiny(horizon=40, frame_skip=4)
    wrong = [replace(each, controls={**each.controls, "learning_rate": 3e-4}) for each in instances(task, 4)]
    alone, looked = run(task, wrong, Static.for_task(task)), lookahead(task, wrong, 2, 4, seed=1)
    assert all(other.loss < own.loss for own, other in zip(alone, looked, strict=True))
    wild = tiny(horizon=40, frame_skip=4, config={"grad_clip": 0.0, "weight_decay": 0.0}, controls=["learning_rate"])
    steep = [replace(each, controls={"learning_rate": 0.9}) for each in instances(wild, 2)]
    assert not any(outcome.diverged for outcome in lookahead(wild, steep, 1, 6, seed=1))


@pytest.mark.parametrize(("depth", "breadth"), [(0, 4), (1, 1), (-1, 2)])
def test_impossible_looks_are_refused(tiny: Make, depth: int, breadth: int) -> None:
    task = tiny()
    with pytest.raises(TunemaxError, match="expected at least 1 step, and 2 ways"):
        lookahead(task, instances(task, 1), depth, breadth, seed=1)


def test_a_look_does_not_jump(tiny: Make) -> None:
    with pytest.raises(TunemaxError, match="use action = box"):
        lookahead(tiny(action="absolute"), instances(tiny(), 1), 1, 2, seed=1)


# ------------------------------------------------------------------------------------------------------ hypergradients


def test_the_rate_moves_by_the_alignment_of_gradient_and_last_move(tiny: Make) -> None:
    task = tiny(horizon=3, frame_skip=3)
    (instance,) = instances(task, 1)
    config = instance.config(task)
    trainer = Trainer(config, corpus_of(config.train.dataset))
    member, rate = trainer.add(config), float(config.train.learning_rate)
    moved = None
    for _ in range(3):
        before = trainer.rows()
        if moved is not None:
            rate *= 1 - 0.3 * torch.nn.functional.cosine_similarity(trainer.gradients(), moved).item()
            trainer.set(member, "learning_rate", rate)
        trainer.step()
        moved = trainer.rows() - before
    (found,) = hypergradient(task, [instance], rate=0.3)
    assert found.history[-1].controls["learning_rate"] == pytest.approx(rate, rel=1e-9)
    assert rate != config.train.learning_rate
    assert found.member_steps == 6


def test_gradients_are_those_of_the_next_iteration(tiny: Make) -> None:
    task = tiny(config={"grad_clip": 0.0, "dropout": 0.1})
    configs = [each.config(task) for each in instances(task, 2)]
    trainer = Trainer(configs[0], corpus_of(configs[0].train.dataset))
    members = [trainer.add(config) for config in configs]
    gradients = trainer.gradients()
    assert torch.equal(gradients, trainer.gradients())
    trainer.step()
    norms = torch.linalg.vector_norm(gradients, dim=1).tolist()
    assert norms == pytest.approx([member.grad_norm for member in members], rel=1e-5)


def test_a_rate_that_is_too_low_rises(tiny: Make) -> None:
    task = tiny(horizon=40, frame_skip=4)
    low = [replace(each, controls={**each.controls, "learning_rate": 1e-3}) for each in instances(task, 3)]
    alone, moved = run(task, low, Static.for_task(task)), hypergradient(task, low, rate=0.3)
    assert all(outcome.history[-1].controls["learning_rate"] > 2e-3 for outcome in moved)
    assert all(other.loss < own.loss for own, other in zip(alone, moved, strict=True))
    assert all(outcome.history[-1].controls["gain"] == outcome.history[0].controls["gain"] for outcome in moved)


def test_hypergradients_do_not_depend_on_the_slots(tiny: Make) -> None:
    task = tiny(vary={"n_embd": [8, 16]}, disturb={"rate": [3, 10]})
    chosen = instances(task, 3)
    assert hypergradient(task, chosen, slots=1) == hypergradient(task, chosen, slots=3)


@pytest.mark.parametrize(
    ("arguments", "rate", "words"),
    [
        ({"controls": ["gain"]}, 0.1, "does not control learning_rate"),
        ({}, 0.0, "rate = 0: expected a number above 0 and below 1"),
        ({}, 1.0, "rate = 1: expected a number above 0 and below 1"),
    ],
)
def test_impossible_hypergradients_are_refused(tiny: Make, arguments: dict[str, Any], rate: float, words: str) -> None:
    task = tiny(**arguments)
    with pytest.raises(TunemaxError, match=words):
        hypergradient(task, instances(task, 1), rate)
