"""A trained thing on disk: one safetensors file whose header holds the rest as JSON. Nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
import safetensors.torch
from torch import Tensor

from tunemax.envs.agents.hyperparameters import Algorithm
from tunemax.envs.agents.scene import Scene
from tunemax.gpt import checkpoint
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import write_whole

Tree = Any
"""Dictionaries, lists and tuples with tensors and plain values in them: what torch calls a state dict."""


class Evaluation(pydantic.BaseModel):
    """An agent on validation instances, without noise. steps: of the environment. total: mean sum of rewards."""

    model_config = pydantic.ConfigDict(frozen=True)

    steps: int
    total: float
    diverged: float
    """The share of the instances that diverged."""


class Spent(pydantic.BaseModel):
    """Iterations of training a GPT that an agent has cost so far: where it learned, and where it was looked at."""

    model_config = pydantic.ConfigDict(frozen=True)

    learning: int = 0
    validation: int = 0

    @property
    def member_steps(self) -> int:
        return self.learning + self.validation


class Header(checkpoint.Formatted):
    """What an agent says of itself.

    controls: of its scene, in the order of its actions. features: name, centre and scale of every number that it sees.
    data: fingerprint of the text. preset: its hyperparameters. state: where in the algorithm's parts each tensor
    belongs. counts: what the algorithm counts. versions: of what it was made with.
    """

    scene: Scene
    controls: tuple[str, ...]
    features: tuple[tuple[str, float, float], ...]
    data: str
    algorithm: Algorithm
    preset: dict[str, Any]
    seed: int
    envs: int
    round: int
    steps: int
    spent: Spent
    evaluations: tuple[Evaluation, ...]
    versions: dict[str, str]
    state: Tree
    counts: dict[str, int | float]


def save(header: Header, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write an agent, whole or not at all."""
    write_whole(path, safetensors.torch.save(dict(tensors), metadata={"tunemax_agent": header.model_dump_json()}))


def load(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """Read an agent. Raises TunemaxError if there is none, it is damaged, or of a newer format."""
    if not path.is_file():
        raise TunemaxError(f"{path}: no agent here; train one with tunemax rl train")
    return checkpoint.read(path, Header, "tunemax_agent", "an agent of tunemax")


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
