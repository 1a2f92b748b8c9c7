"""A trained agent as the controller of a normal training run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from tunemax.envs.agents.agent import Agent
from tunemax.envs.observation import Features, Watch, measure
from tunemax.envs.steering import move
from tunemax.envs.task import Task
from tunemax.envs.texts import REWARD_SLICE
from tunemax.gpt.config import Config
from tunemax.gpt.divergence import divergence_cap
from tunemax.gpt.trainer import Member, Trainer


class Pilot:
    """Steers one training, of any size and length, as its agent steers an episode: before the first iteration, then
    every so often.

    agent: what decides. fields: of the training, on top of the agent's own task; `max_iters` is the horizon.
    every: iterations between two moves; by default there are as many moves as in an episode that the agent learned on.

    Raises TunemaxError if the training does not have the agent's controls.
    """

    def __init__(self, agent: Agent, fields: Mapping[str, Any], every: int | None = None) -> None:
        learned = agent.task
        own = {name: value for name, value in learned.fields.items() if name != "eval_by"}  # a run is measured as now
        horizon = Config.of({**own, "max_iters": learned.horizon, **fields}).train.max_iters
        self.task = Task(
            learned.controls,
            {**own, **fields},
            horizon,
            frame_skip=1,
            action=learned.action,
            windows=learned.windows,
        )
        agent.check_moves(self.task)
        self.task.check_meant(fields)
        self.name = f"agent {agent.name} of {agent.header.scene.id}"
        self.every = every or max(1, horizon // learned.mean_steps)
        self._agent, self._features = agent, Features(self.task.dials, learned.varied)
        self._watch = Watch()
        self._action = np.zeros(len(self.task.dials))
        self._before: Tensor | None = None

    @property
    def config(self) -> Config:
        """What is to be trained: what the agent moves is taken away from SGD."""
        return self.task.config

    def move(self, trainer: Trainer, member: Member) -> dict[str, float]:
        windows = trainer.corpus.windows(REWARD_SLICE, trainer.model.block_size, self.task.windows)
        found = measure(trainer, [member], windows, self._before)[member]
        cap = divergence_cap(member.config, trainer.corpus)
        self._watch.see(found, math.log(found.loss if found.loss <= cap else cap), self._action.tolist())
        raw = self._watch.raw(found, member, self.every, self.task.dials)
        observation = self._features.normalised([{**raw, **self._features.of_config(member.config)}])[0]
        self._action = self._agent.act(observation)
        move(trainer, member, self.task, self._action)
        self._before = trainer.rows()
        return {dial.name: dial.read(member.values) for dial in self.task.dials}
