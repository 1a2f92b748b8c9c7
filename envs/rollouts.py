"""What becomes of instances under a policy, under SGD alone, in a population, and by looking ahead; no environment is
needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunemax.envs.instances import Instance
from tunemax.envs.policies import Policy, Static
from tunemax.envs.steering import Episode, Past, Steering
from tunemax.envs.task import Task
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.random import key


@dataclass(frozen=True)
class Outcome:
    """How one training ended.

    total: the sum of rewards, log of the first validation loss over the last. loss: that last validation loss.
    test_loss: on the test slice, None if the task has no test windows; both are a cap's if the training diverged.
    member_steps: iterations that were trained for it. history: one look at the start and one after each step.
    """

    instance: str
    total: float
    loss: float
    test_loss: float | None
    diverged: bool
    member_steps: int
    history: tuple[Past, ...]

    @classmethod
    def of(cls, episode: Episode, member_steps: int | None = None) -> Outcome:
        steps = episode.iteration if member_steps is None else member_steps
        name, history = episode.instance.name, tuple(episode.history)
        return cls(name, episode.total, episode.loss, episode.test_loss, episode.diverged, steps, history)


def run(task: Task, instances: Sequence[Instance], policy: Policy, slots: int = 16) -> list[Outcome]:
    """Every instance from start to end under one policy, in the order given; `slots` of them at once."""
    return steered(Steering(task, max(1, min(slots, len(instances)))), instances, policy)


def steered(steering: Steering, instances: Sequence[Instance], policy: Policy) -> list[Outcome]:
    """The same in the slots of a steering, whatever was there."""
    waiting = list(enumerate(instances))[::-1]
    seen: dict[int, tuple[int, Any]] = {}
    outcomes: dict[int, Outcome] = {}
    while waiting or seen:
        free = [slot for slot in range(steering.size) if slot not in seen]
        taken = {slot: waiting.pop() for slot in free if waiting}
        begun = steering.start({slot: instance for slot, (_, instance) in taken.items()}) if taken else {}
        seen |= {slot: (taken[slot][0], transition.observation) for slot, transition in begun.items()}
        done = steering.advance({slot: policy.act(observation) for slot, (_, observation) in seen.items()})
        for slot, transition in done.items():
            number, _ = seen.pop(slot)
            if transition.terminated:
                outcomes[number] = Outcome.of(steering.episode(slot))
            else:
                seen[slot] = (number, transition.observation)
    return [outcomes[number] for number in range(len(instances))]


def left_to_sgd(task: Task, instances: Sequence[Instance]) -> list[Outcome]:
    """The instances with nothing controlled: SGD learns what the variant has, from where the instance starts it."""
    return run(task.left_to_sgd(), instances, Static(0))


def population(
    task: Task, instance: Instance, size: int, seed: int, interval: int = 2, quantile: float = 0.25
) -> Outcome:
    """Population based training (Jaderberg et al., arXiv 1711.09846) of one instance; the outcome is the best member's.

    size: trainings side by side, all with the seed and the text of the instance; they explore their controls from the
    first step on.
    interval: steps between two exchanges, in which the worst `quantile` goes on from a copy of one of the best. A
    training that has diverged is replaced, too. Costs `size` times the member-steps of one training.
    """
    if task.action == "absolute":
        raise TunemaxError("action = absolute: a population explores by moves; use action = box")
    if size < 2 or not 0 < quantile <= 0.5:
        raise TunemaxError(
            f"population of {size}, quantile {quantile:g}: expected at least 2, and a quantile above 0 and at most 0.5"
        )
    generator = np.random.default_rng(seed)
    steering = Steering(task, size)
    steering.start(dict.fromkeys(range(size), instance))
    count = max(1, round(quantile * size))
    spent, steps = 0, task.steps(instance.horizon)
    explore = set(range(size))
    for step in range(1, steps + 1):
        running = [slot for slot in range(size) if steering.running(slot)]
        if not running:
            break
        rest = np.zeros(len(task.dials))
        drawn = {slot: generator.uniform(-1, 1, len(rest)) for slot in running if slot in explore}
        steering.advance({slot: drawn.get(slot, rest) for slot in running})
        spent += len(running) * task.frame_skip
        explore = set()
        if step % interval == 0 and step < steps:
            ranked = sorted(range(size), key=lambda slot: steering.episode(slot).loss)
            best = [slot for slot in ranked[:count] if steering.running(slot)]
            worst = {slot for slot in ranked if not steering.running(slot)} | set(ranked[-count:])
            for slot in sorted(worst - set(best)) if best else ():
                steering.put(slot, steering.state(best[int(generator.integers(len(best)))]))
                explore.add(slot)
    winner = min(range(size), key=lambda slot: steering.episode(slot).loss)
    return Outcome.of(steering.episode(winner), spent)


def lookahead(
    task: Task, instances: Sequence[Instance], depth: int, breadth: int, seed: int, slots: int = 16
) -> list[Outcome]:
    """Every instance steered by trying: its training is forked into `breadth` copies, each goes another way for `depth`
    steps, and the one with the lowest validation loss goes on, forked anew.

    A way is an action that is held for the whole look: the first copy leaves every control alone, the others draw
    uniformly from [-1, 1]. What is drawn is a function of seed and instance, not of `slots`, the copies at once.
    Greedy: what pays only after the look is not seen. Costs `breadth` times the member-steps of one training.
    """
    if task.action == "absolute":
        raise TunemaxError("action = absolute: a look ahead tries moves; use action = box")
    if depth < 1 or breadth < 2:
        raise TunemaxError(f"a look of {depth} steps in {breadth} ways: expected at least 1 step, and 2 ways")
    together = max(1, slots // breadth)
    groups = [instances[place : place + together] for place in range(0, len(instances), together)]
    return [outcome for group in groups for outcome in _looking(task, group, depth, breadth, seed)]


def _looking(task: Task, instances: Sequence[Instance], depth: int, breadth: int, seed: int) -> list[Outcome]:
    """Those of one group, the copies of an instance side by side."""
    steering = Steering(task, breadth * len(instances))
    copies = [range(first, first + breadth) for first in range(0, steering.size, breadth)]
    draws = [np.random.default_rng(key(seed, "lookahead", instance.name)) for instance in instances]
    spent = [0] * len(instances)
    steering.start({slot: instance for instance, slots in zip(instances, copies, strict=True) for slot in slots})
    while any(steering.running(slot) for slot in range(steering.size)):
        ways = np.concatenate([generator.uniform(-1, 1, (breadth, len(task.dials))) for generator in draws])
        ways[::breadth] = 0.0
        for _ in range(depth):
            running = [slot for slot in range(steering.size) if steering.running(slot)]
            steering.advance({slot: ways[slot] for slot in running})
            for slot in running:
                spent[slot // breadth] += task.frame_skip
        for slots in copies:
            best = _best(steering, slots)
            if steering.running(best):  # else all have ended
                state = steering.state(best)
                for slot in set(slots) - {best}:
                    steering.put(slot, state)
    winners = (steering.episode(_best(steering, slots)) for slots in copies)
    return [Outcome.of(episode, steps) for episode, steps in zip(winners, spent, strict=True)]


def _best(steering: Steering, slots: Sequence[int]) -> int:
    """The training with the lowest validation loss; the first of equals."""
    return min(slots, key=lambda slot: steering.episode(slot).loss)
