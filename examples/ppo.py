"""PPO in one file, after CleanRL's `ppo_continuous_action.py`, on many trainings in one vector environment.

    python examples/ppo.py --env tunemax/LearningRate-v1 --total-steps 6400
    python examples/ppo.py --num-envs 4 --total-steps 80    # seconds: only to see that it works

Observations are normalised and rewards are of order 1 as they come. The discount is 1: rewards add up to what counts.
Returns are printed in nats, the fall of the log of the validation loss.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="tunemax/Tiny-v1", help="an id with actions of the form box")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--num-envs", type=int, default=16, help="trainings at once")
    parser.add_argument("--total-steps", type=int, default=3200, help="of the environment, all trainings together")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=10, help="passes over what was collected")
    parser.add_argument("--minibatches", type=int, default=4, help="of each pass")
    parser.add_argument("--gae-lambda", type=float, default=0.95)
    parser.add_argument("--clip", type=float, default=0.2, help="of the ratio of the policies")
    parser.add_argument("--value-coef", type=float, default=0.5)
    parser.add_argument("--max-grad-norm", type=float, default=0.5)
    return parser.parse_args(given)


def layer(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
    made = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(made.weight, gain)
    nn.init.zeros_(made.bias)
    return made


class Agent(nn.Module):
    """Actor and critic, of two hidden layers each; the spread of actions does not depend on what is seen."""

    def __init__(self, seen: int, actions: int) -> None:
        super().__init__()
        self.critic = nn.Sequential(layer(seen, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, 1, 1.0))
        self.actor = nn.Sequential(layer(seen, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, actions, 0.01))
        self.log_std = nn.Parameter(torch.full((actions,), -0.5))

    def policy(self, observation: Tensor) -> Normal:
        return Normal(self.actor(observation), self.log_std.exp())

    def value(self, observation: Tensor) -> Tensor:
        return self.critic(observation).squeeze(-1)  # type: ignore[no-any-return]


def main(given: Sequence[str] | None = None) -> None:
    args = arguments(given)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    shuffle = np.random.default_rng(args.seed)
    envs = gymnasium.make_vec(f"tunemax.envs:{args.env}", num_envs=args.num_envs, autoreset_mode="SameStep")
    assert envs.spec is not None
    length = envs.spec.max_episode_steps or 1  # an episode of every training is collected for an update
    (seen,), (actions,) = envs.single_observation_space.shape, envs.single_action_space.shape  # type: ignore[misc]
    agent = Agent(seen, actions)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)

    shape = (length, args.num_envs)
    observations, taken = torch.zeros(*shape, seen), torch.zeros(*shape, actions)
    log_probs, rewards, ended, values = (torch.zeros(shape) for _ in range(4))
    now = torch.from_numpy(envs.reset(seed=args.seed)[0])
    updates = max(1, args.total_steps // (length * args.num_envs))
    start = time.perf_counter()
    for update in range(1, updates + 1):
        returns = []
        for step in range(length):
            with torch.no_grad():
                policy = agent.policy(now)
                action = policy.sample()
                values[step] = agent.value(now)
            observations[step], taken[step] = now, action
            log_probs[step] = policy.log_prob(action).sum(-1)
            seen_next, reward, terminated, _, infos = envs.step(action.clamp(-1, 1).numpy())
            rewards[step], ended[step] = torch.from_numpy(reward), torch.from_numpy(terminated)
            now = torch.from_numpy(seen_next)
            if terminated.any():
                returns += infos["final_info"]["return"][terminated].tolist()

        advantages, following = torch.zeros(shape), torch.zeros(args.num_envs)
        with torch.no_grad():
            next_value = agent.value(now)
        for step in reversed(range(length)):  # an end is an end: nothing is expected behind it
            goes_on = 1 - ended[step]
            error = rewards[step] + goes_on * next_value - values[step]
            advantages[step] = following = error + goes_on * args.gae_lambda * following
            next_value = values[step]
        targets = advantages + values

        flat = [part.flatten(0, 1) for part in (observations, taken, log_probs, advantages, targets)]
        for _ in range(args.epochs):
            order = torch.from_numpy(shuffle.permutation(length * args.num_envs))
            for rows in order.chunk(args.minibatches):
                seen_then, did, log_prob, advantage, target = (part[rows] for part in flat)
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                ratio = (agent.policy(seen_then).log_prob(did).sum(-1) - log_prob).exp()
                clipped = ratio.clamp(1 - args.clip, 1 + args.clip)
                policy_loss = -torch.minimum(ratio * advantage, clipped * advantage).mean()
                value_loss = (agent.value(seen_then) - target).square().mean()
                optimizer.zero_grad()
                (policy_loss + args.value_coef * value_loss).backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
                optimizer.step()
        steps = update * length * args.num_envs
        told = f"return {np.mean(returns):.4f} nats" if returns else "no training has ended"
        print(f"{steps:>7} steps  {told}  {steps / (time.perf_counter() - start):.0f} steps/s", flush=True)
    envs.close()


if __name__ == "__main__":
    main()
