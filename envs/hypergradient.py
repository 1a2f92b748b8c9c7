"""Hypergradient descent (Baydin et al., arXiv 1703.04782): the learning rate is trained by the alignment of gradients.

Before each iteration the rate goes up if the gradient there would have had the update before it be larger, and down if
it would have had it be smaller. This is the multiplicative form, which knows no scale: the learning rate times
1 − `rate`·cos of the angle between the gradient and how the weights have just moved. It holds for whatever optimizer,
since every move of the weights is proportional to the learning rate, that of decoupled decay, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from tunemax.envs.controls import find_dial
from tunemax.envs.instances import Instance
from tunemax.envs.policies import Static
from tunemax.envs.rollouts import Outcome, steered
from tunemax.envs.steering import Steering
from tunemax.envs.task import Task
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.trainer import Member, Trainer

RATE = 0.1
"""How far the learning rate moves in an iteration, at most, relative to itself. The best of 0.02, 0.05, 0.1, 0.2 and
0.4 on validation instances of DisturbedText-v1, all but the last within 0.1 % of the loss."""
CONTROL = "learning_rate"


def hypergradient(task: Task, instances: Sequence[Instance], rate: float = RATE, slots: int = 16) -> list[Outcome]:
    """Every instance from start to end while its learning rate is trained; other controls are left alone.

    Costs a second gradient an iteration, so twice the member-steps. Raises TunemaxError for a task that does not
    control the learning rate, and for a rate that is not between 0 and 1.
    """
    if CONTROL not in task.controls:
        raise TunemaxError("hypergradient: this task does not control learning_rate")
    if not 0 < rate < 1:
        raise TunemaxError(f"hypergradient: rate = {rate:g}: expected a number above 0 and below 1")
    steering = _Hypergradient(task, max(1, min(slots, len(instances))), rate)
    outcomes = steered(steering, instances, Static.for_task(task))
    return [replace(outcome, member_steps=2 * outcome.member_steps) for outcome in outcomes]


class _Hypergradient(Steering):
    """Trainings whose learning rate moves before every iteration, not only between two steps."""

    def __init__(self, task: Task, slots: int, rate: float) -> None:
        super().__init__(task, slots)
        self._rate = rate
        self._moved: WeakKeyDictionary[Member, Tensor] = WeakKeyDictionary()
        """The last move of each member's weights, (P,), as long as it runs."""

    def train(self, trainer: Trainer) -> None:
        for _ in range(self.task.frame_skip):
            before = trainer.rows()
            gradients = trainer.gradients()
            for member, gradient in zip(trainer.members, gradients, strict=True):
                if member in self._moved:
                    self._adapt(trainer, member, gradient)
            trainer.step()
            self._moved.update(zip(trainer.members, trainer.rows() - before, strict=True))

    def _adapt(self, trainer: Trainer, member: Member, gradient: Tensor) -> None:
        alignment = torch.nn.functional.cosine_similarity(gradient, self._moved[member], dim=0).item()
        if abs(alignment) <= 1:  # not NaN
            dial, now = find_dial(CONTROL, member.config), float(member.values[CONTROL])
            wanted = now * (1 - self._rate * alignment)
            trainer.set(member, CONTROL, min(max(wanted, dial.low), dial.high))
