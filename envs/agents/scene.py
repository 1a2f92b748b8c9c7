"""A scene: an environment's id with its arguments, as an agent remembers what it was trained on."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pydantic

from tunemax.envs.ids import IDS, SMALL
from tunemax.envs.task import OF_A_ROW, Task, check_config, find_row, full_id, task_of
from tunemax.envs.vector import SteerVector
from tunemax.gpt.config import all_specs
from tunemax.gpt.defaults import SCHEMA, defaults_of
from tunemax.gpt.errors import TunemaxError, did_you_mean

ARGUMENTS = {"config", *OF_A_ROW}


class Scene(pydantic.BaseModel):
    """An environment with all that makes its trainings what they are.

    id: `tunemax/Constantmax-v0`, … arguments: those of the id that are changed, without `set` and `action`.
    action: the form of actions, see `tunemax.envs.controls.Actions`. schema_version: whose defaults hold for fields
    that `config` does not name, see `tunemax.gpt.defaults`.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    id: str
    arguments: dict[str, Any] = {}
    action: str = "box"
    schema_version: int = pydantic.Field(1, ge=1, le=SCHEMA)

    @pydantic.field_validator("id")
    @classmethod
    def _full(cls, name: str) -> str:
        return full_id(name)

    @pydantic.model_validator(mode="after")
    def _exists(self) -> Scene:
        """A scene may come out of a file."""
        if self.id not in IDS:
            raise ValueError(f"{self.id}: no such environment in this version")
        if unknown := sorted(self.arguments.keys() - ARGUMENTS):
            raise ValueError(f"{unknown[0]}: no such argument of an environment")
        return self

    @classmethod
    def of(cls, name: str, action: str = "box", **arguments: Any) -> Scene:
        """The scene of an id, with `tunemax/` or not. Raises TunemaxError for what does not exist or go together."""
        schema = find_row(name).schema or SCHEMA
        given = {key: value for key, value in arguments.items() if value is not None}
        check_config(given.get("config"))
        if unknown := sorted(given.keys() - ARGUMENTS):
            raise TunemaxError(
                f"argument {unknown[0]}: no such argument of an environment{did_you_mean(unknown[0], ARGUMENTS)}"
            )
        scene = cls(id=name, arguments=given, action=action, schema_version=schema)
        scene.task.check_meant(scene.arguments.get("config", {}))
        return scene

    @property
    def name(self) -> str:
        """The id without its namespace."""
        return self.id.rpartition("/")[2]

    @cached_property
    def task(self) -> Task:
        return task_of(self.id, action=self.action, **self._whole)

    def vector(self, envs: int) -> SteerVector:
        """So many of these environments as one batched model, on instances of the set `train`."""
        whole = self._whole
        if "config" in whole:  # which may come out of a file, of a time when what means nothing was ignored
            whole["config"] = self.task.meant(whole["config"])
        return SteerVector(envs, name=self.id, action=self.action, **whole)

    @property
    def moves(self) -> Scene:
        """The same whose actions move controls: where baselines are tuned."""
        return Scene(id=self.id, arguments=self.arguments, schema_version=self.schema_version)

    def at(self, schema: int) -> Scene:
        """The same by the defaults of another time."""
        return Scene(id=self.id, arguments=self.arguments, action=self.action, schema_version=schema)

    @property
    def _whole(self) -> dict[str, Any]:
        """The arguments, with the defaults of their time for what neither they nor the id name."""
        row = IDS[self.id]
        named = {**SMALL, **row.config}
        today = {name: all_specs()[name].default for name in defaults_of(row.schema or SCHEMA)}
        then = {**today, **defaults_of(self.schema_version)}
        since = {name: value for name, value in then.items() if name not in named}
        config = {**since, **self.arguments.get("config", {})}
        return {**self.arguments, **({"config": config} if config else {})}
