"""A trained thing on disk: one safetensors file whose header holds the rest as JSON. Nothing is unpickled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
import safetensors.torch
from torch import Tensor

from tunemax.envs.agents.hyperparameters import Algorithm
from tunemax.envs.agents.scene import Scene
from tunemax.gpt import checkpoint, plugins
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import write_whole
from tunemax.gpt.plugins import PluginRecord

Tree = Any
"""Dictionaries, lists and tuples with tensors and plain values in them: what torch calls a state dict."""


class Evaluation(pydantic.BaseModel):
    """An agent on validation instances, without noise, and how its algorithm is.

    steps: of the environment. total: mean return, in nats. diverged: share of the instances. entropy, entropy_share,
    losses: see `tunemax.envs.agents.vitals`; of agents of before, unknown.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    steps: int
    total: float
    diverged: float
    entropy: float | None = None
    entropy_share: float | None = None
    losses: dict[str, float] = {}


def best_of(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The one with the highest return; of equals the latest, which has seen most."""
    return max(evaluations, key=lambda each: (each.total, each.steps))


class Learning(pydantic.BaseModel):
    """An agent's returns on training instances beyond those of controls that are left alone (`static`), in nats.

    gain: the mean over instances, which is the mean difference of log losses. low, high: its 95 % interval.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    instances: int
    gain: float
    low: float
    high: float

    @property
    def learned(self) -> bool:
        """Better than doing nothing, and by more than chance."""
        return self.low > 0

    @property
    def sentence(self) -> str:
        """What is to be said of it. Percent: how much lower the loss is."""
        gain, low, high = (f"{100 * -math.expm1(-value):+.1f}" for value in (self.gain, self.low, self.high))
        of = f"on static, {self.instances} training instances"
        return f"{'learned' if self.learned else 'did not learn'}: {gain} % (95 % interval {low} … {high} %) {of}"


class Spent(pydantic.BaseModel):
    """Iterations of training a GPT that an agent has cost so far: where it learned, where it was looked at to choose
    the best save, and where that was checked for having learned."""

    model_config = pydantic.ConfigDict(frozen=True)

    learning: int = 0
    validation: int = 0
    check: int = 0

    @property
    def member_steps(self) -> int:
        return self.learning + self.validation + self.check


class Header(checkpoint.Formatted):
    """What an agent says of itself.

    controls: of its scene, in the order of its actions. features: name, centre and scale of every number that it sees.
    data: fingerprint of the text. reward_scale: that it has learned by. preset: its hyperparameters. validation:
    instances of a look. learning: whether it has learned, once its training has ended. state: where in the algorithm's
    parts each tensor belongs. counts: what the algorithm counts. versions: of what it was made with. What has a default
    was not there in older files. plugins: those that
    parts of its trainings come from.
    """

    scene: Scene
    controls: tuple[str, ...]
    features: tuple[tuple[str, float, float], ...]
    data: str
    reward_scale: float = 1.0
    algorithm: Algorithm
    preset: dict[str, Any]
    seed: int
    envs: int
    round: int
    validation: int = 16
    steps: int
    spent: Spent
    evaluations: tuple[Evaluation, ...]
    learning: Learning | None = None
    versions: dict[str, str]
    state: Tree
    counts: dict[str, int | float]
    plugins: tuple[PluginRecord, ...] = ()


def save(header: Header, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write an agent, whole or not at all."""
    write_whole(path, safetensors.torch.save(dict(tensors), metadata={"tunemax_agent": header.model_dump_json()}))


def load(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """Read an agent. Raises TunemaxError if there is none, it is damaged, of a newer format, or made with a plug-in
    that is not here, or is another."""
    if not path.is_file():
        raise TunemaxError(f"{path}: no agent here; train one with tunemax rl train")
    header, tensors = checkpoint.read(path, Header, "tunemax_agent", "an agent of tunemax")
    plugins.check(header.plugins, str(path))
    return header, tensors


def packed(tree: Tree, name: str, tensors: dict[str, Tensor]) -> Tree:
    """A tree as plain JSON; its tensors go into `tensors`, under names that begin with `name`."""
    if isinstance(tree, Tensor):
        tensors[name] = tree.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(tree, Mapping):
        return {"items": [[key, packed(value, f"{name}/{key}", tensors)] for key, value in tree.items()]}
    if isinstance(tree, (list, tuple)):
        kind = "tuple" if isinstance(tree, tuple) else "list"
        return {kind: [packed(value, f"{name}/{place}", tensors) for place, value in enumerate(tree)]}
    return {"plain": tree}


def unpacked(plain: Tree, tensors: Mapping[str, Tensor]) -> Tree:
    """The tree that `packed` was given. Raises KeyError for a missing tensor, ValueError for what it did not write."""
    ((kind, content),) = plain.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "items":
        return {key: unpacked(value, tensors) for key, value in content}
    if kind in ("tuple", "list"):
        values = [unpacked(value, tensors) for value in content]
        return tuple(values) if kind == "tuple" else values
    if kind == "plain":
        return content
    raise ValueError(f"{kind}: no such kind of node")
