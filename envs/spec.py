"""What Gymnasium knows of an environment that was made: its spec, with the steps of its longest episode."""

from __future__ import annotations

import dataclasses
import json

from gymnasium.envs.registration import EnvSpec


class EpisodeSteps(int):
    """The steps after which an environment ends by itself, so that no limit has to.

    Who makes an environment of a spec with `max_episode_steps` gets a `TimeLimit`, which calls the last step of an
    episode truncated if `steps >= limit`. Here the limit lies just behind: it equals no number of steps, for `<=`.
    """

    def __le__(self, steps: int) -> bool:
        return int(self) < steps


@dataclasses.dataclass
class SteerSpec(EnvSpec):
    """A spec whose `max_episode_steps` follow from its arguments, and are worked out anew by whoever reads it."""

    def to_json(self) -> str:
        return json.dumps({**json.loads(super().to_json()), "max_episode_steps": None})


def with_steps(spec: EnvSpec, steps: int) -> EnvSpec:
    """The same spec, of an environment whose longest episode has so many steps."""
    given = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec) if field.init}
    return SteerSpec(**{**given, "max_episode_steps": EpisodeSteps(steps)})
