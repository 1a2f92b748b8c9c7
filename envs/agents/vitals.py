"""What tells whether an algorithm is learning: entropy of its policy, what of its values is entropy, and its losses."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from sb3_contrib import TQC
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm

from tunemax.envs.agents.global_rng import borrowed
from tunemax.gpt.random import key


def entropy_of(model: BaseAlgorithm, observations: npt.NDArray[np.float32], steps: int) -> tuple[float, float | None]:
    """Entropy of the policy, in nats a decision, and its share of Q: both means over observations (n, features).

    steps: of an episode. The share is the entropy bonus of what is left of an episode, on average, over the mean of
    |Q|: near 1, the critic has little else to tell. None for algorithms whose values have no entropy in them.
    """
    seen = torch.as_tensor(observations)
    with torch.no_grad(), borrowed():
        torch.manual_seed(key(0, "entropy") % 2**63)  # actions are drawn
        if isinstance(model, PPO):
            entropies = model.policy.get_distribution(seen).entropy()
            assert entropies is not None
            return float(entropies.mean()), None
        if isinstance(model, DQN):
            return _greedy_entropy(model.exploration_rate, int(model.action_space.n)), None  # type: ignore[attr-defined]
        assert isinstance(model, (SAC, TQC))
        actions, log_probabilities = model.actor.action_log_prob(seen)
        values = model.critic(seen, actions)
        q = values.mean(dim=2) if isinstance(model, TQC) else torch.stack(values)
        learned = model.log_ent_coef  # of `auto`
        alpha = float(model.ent_coef_tensor if learned is None else learned.exp())
        entropy = -float(log_probabilities.mean())
        bonus = abs(alpha * entropy) * _left(model.gamma, steps)
        return entropy, bonus / max(float(q.abs().mean()), 1e-12)


def losses_of(model: BaseAlgorithm) -> dict[str, float]:
    """The losses of the latest update, by their names in stable-baselines3; empty before there was one."""
    latest = {name.rpartition("/")[2]: value for name, value in model.logger.name_to_value.items()}
    return {name: float(value) for name, value in latest.items() if name.endswith("loss")}


def _left(gamma: float, steps: int) -> float:
    """Decisions that come after one of an episode, on average, each discounted."""
    after = np.cumsum(gamma ** np.arange(1, steps))
    return float(after.sum() / steps)


def _greedy_entropy(epsilon: float, actions: int) -> float:
    """Of the best action but for a share of uniform ones."""
    shares = [1 - epsilon + epsilon / actions, *[epsilon / actions] * (actions - 1)]
    return -sum(share * math.log(share) for share in shares if share)
