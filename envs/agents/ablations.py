"""What an agent's observation is worth: the same agent with a part of it hidden, or shown something else.

Nothing is trained anew. An agent that does as well without a part has not used it; one that does worse may have come to
rely on it.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from tunemax.envs.observation import Observation
from tunemax.envs.policies import Answer, Policy

FEEDBACK = (
    "loss", "fast_slope", "slow_slope", "gap", "gradient", "noise", "update", "row_sum", "guarded",
    "beta_mean", "beta_std", "log_gamma_mean", "log_gamma_std", "gain_mean", "gain_std",
)  # fmt: skip
"""What is measured of a training. Without it an agent sees progress and its own controls: it is a schedule."""
PROGRESS = ("progress", "schedule")
"""What says how much is over. Without it an agent can only react."""


class Hidden:
    """A policy that does not see some features: in their place it sees 0, the centre that they are normalised to."""

    def __init__(self, policy: Policy, names: tuple[str, ...], hidden: Collection[str]) -> None:
        """names: of all features, in the order of an observation."""
        self._policy = policy
        self._shown = np.array([name not in hidden for name in names], dtype=np.float32)

    def act(self, observation: npt.ArrayLike) -> Answer:
        return self._policy.act(np.asarray(observation, dtype=np.float32) * self._shown)


class Recorded:
    """A policy that remembers what it has seen."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.seen: list[Observation] = []

    def act(self, observation: npt.ArrayLike) -> Answer:
        self.seen.append(np.array(observation, dtype=np.float32))
        return self._policy.act(observation)


class Shuffled:
    """A policy that sees another training at another time: all that is left is what it does on average."""

    def __init__(self, policy: Policy, pool: list[Observation], seed: int) -> None:
        """pool: observations of the same policy, drawn from at random."""
        self._policy, self._pool = policy, pool
        self._generator = np.random.default_rng(seed)

    def act(self, observation: npt.ArrayLike) -> Answer:
        return self._policy.act(self._pool[int(self._generator.integers(len(self._pool)))])
