"""Whether an agent has learned: its best save beside controls that are left alone, on instances of the training set.

An agent that does no better there has nothing that could hold elsewhere, and what a verdict says of it would be chance.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tunemax.envs.agents.agent import Agent
from tunemax.envs.agents.file import Learning
from tunemax.envs.instances import find_set
from tunemax.envs.policies import Static
from tunemax.envs.rollouts import run

RESAMPLES = 10_000


def check(agent: Agent, count: int) -> tuple[Learning, int]:
    """The agent, without noise, against action 0 for ever, paired by instance; and the member-steps that it has cost.

    count: of instances, the first ones of the set, the same for every agent of a scene. The interval is a percentile
    bootstrap over instances, of the same draws every time.
    """
    moves = agent.header.scene.moves.task  # with places as actions, 0 would be one of them
    task, still = (replace(each, test_windows=0) for each in (agent.task, moves))  # no test loss is looked at
    instances = [find_set("train").draw(task, index) for index in range(count)]
    steered, alone = run(task, instances, agent), run(still, instances, Static.for_task(still))
    gains = np.array([one.total - other.total for one, other in zip(steered, alone, strict=True)])
    drawn = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    low, high = np.quantile(gains[drawn].mean(axis=1), (0.025, 0.975)).tolist()
    learning = Learning(instances=count, gain=float(gains.mean()), low=low, high=high)
    return learning, sum(outcome.member_steps for outcome in (*steered, *alone))
