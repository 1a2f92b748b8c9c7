"""Hyperparameters of agents, by algorithm: checked, and with the place that they come from.

A preset is a YAML file in `presets` here, or one of your own. Those in `presets/v0` are of the time when rewards were
in nats, a tenth of today's or less. Episodes are turned into steps for the task at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pydantic
import yaml
from pydantic import Field

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import explain
from tunemax.gpt.paths import inside

Algorithm = Literal["sac", "ppo", "tqc", "dqn"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

PRESETS = Path(__file__).parent / "presets"

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Preset(pydantic.BaseModel):
    """What every algorithm has. Names that are not explained here are those of stable-baselines3.

    source: where the values come from. net: widths of the hidden layers of every network.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    source: str
    net: tuple[Count, ...] = (64, 64)
    learning_rate: Positive
    gamma: Share = 1.0
    batch_size: Count

    def arguments(self, steps: int, envs: int) -> dict[str, Any]:
        """What the algorithm's class is given. steps: of an episode. envs: trainings at once."""
        own = self.model_dump(exclude={"source", "net", "episodes", "warmup_episodes"})
        return {**own, "policy_kwargs": {"net_arch": list(self.net)}}

    def changed(self, **values: Any) -> Preset:
        """The same with other values. Raises TunemaxError for what it does not have, or cannot be."""
        return read(type(self), {**self.model_dump(), **values}, "preset")


class OnPolicy(Preset):
    """PPO. episodes: how many of each training are collected for an update."""

    episodes: Count = 1
    n_epochs: Count = 10
    gae_lambda: Share = 0.95
    clip_range: Positive = 0.2
    ent_coef: Annotated[float, Field(ge=0)] = 0.0
    target_kl: Positive | None = None

    def arguments(self, steps: int, envs: int) -> dict[str, Any]:
        collected = self.episodes * steps
        whole = [size for size in range(1, self.batch_size + 1) if collected * envs % size == 0]
        batch = max(whole)  # a rest would be a batch of its own, and weigh as much
        return {**super().arguments(steps, envs), "n_steps": collected, "batch_size": batch}


class OffPolicy(Preset):
    """SAC and its like. warmup_episodes: played at random, before it learns. gradient_steps: -1 is one a step."""

    buffer_size: Count = 100_000
    warmup_episodes: Count = 16
    gradient_steps: Annotated[int, Field(ge=-1)] = -1
    tau: Share = 0.005

    def arguments(self, steps: int, envs: int) -> dict[str, Any]:
        own = super().arguments(steps, envs)
        return {**own, "learning_starts": self.warmup_episodes * steps, "train_freq": (1, "step")}


class ActorCritic(OffPolicy):
    """SAC. ent_coef: a number, `auto`, or `auto_` and where it starts."""

    ent_coef: Positive | Annotated[str, Field(pattern=r"^auto(_\d*\.?\d+)?$")] = "auto"


class Quantiles(ActorCritic):
    """TQC."""

    top_quantiles_to_drop_per_net: Annotated[int, Field(ge=0, le=24)] = 2


class Discrete(OffPolicy):
    """DQN."""

    tau: Share = 1.0
    target_update_interval: Count = 500
    exploration_fraction: Share = 0.3
    exploration_final_eps: Share = 0.05


KINDS: dict[Algorithm, type[Preset]] = {"sac": ActorCritic, "ppo": OnPolicy, "tqc": Quantiles, "dqn": Discrete}


def checked(algorithm: str) -> Algorithm:
    """The algorithm of this name. Raises TunemaxError for an unknown one."""
    for known in ALGORITHMS:
        if known == algorithm:
            return known
    raise TunemaxError(f"algorithm = {algorithm}: no such algorithm{did_you_mean(str(algorithm), ALGORITHMS)}")


def usual(algorithm: str, id: str) -> Preset:
    """Our preset for an environment. Raises TunemaxError for an unknown algorithm."""
    presets = PRESETS / "v0" if id.endswith("-v0") else PRESETS
    return load(algorithm, inside(presets, f"{checked(algorithm)}.yaml"))


def load(algorithm: str, path: Path | None = None) -> Preset:
    """The preset of an algorithm: ours, or a file's. Raises TunemaxError for what is missing, unknown or impossible."""
    kind = KINDS[checked(algorithm)]
    path = path or inside(PRESETS, f"{algorithm}.yaml")
    try:
        plain = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise TunemaxError(f"{path}: no such preset; write one after envs/agents/presets/{algorithm}.yaml") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise TunemaxError(f"{path}: not readable as YAML ({str(error).splitlines()[0]}); mend it") from error
    if not isinstance(plain, dict):
        raise TunemaxError(f"{path}: expected names with values, as in envs/agents/presets/{algorithm}.yaml")
    return read(kind, plain, str(path))


def read(kind: type[Preset], plain: dict[str, Any], where: str) -> Preset:
    """A preset of plain data. where: named in an error."""
    for name in plain:
        if name not in kind.model_fields:
            raise TunemaxError(f"{where}: {name}: no such hyperparameter{did_you_mean(str(name), kind.model_fields)}")
    try:
        return kind.model_validate(plain)
    except pydantic.ValidationError as error:
        raise TunemaxError(f"{where}: {explain(error)}") from error
