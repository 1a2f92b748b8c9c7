"""Steered while it trains: a training as an environment, policies and agents.

Importing this registers the ids with Gymnasium and loads nothing else: no torch, no model.
``gymnasium.make("tunemax.envs:tunemax/Tiny-v1")`` imports it by itself; after ``gymnasium.register_envs(tunemax.envs)``
the part before the colon can be left out.
"""

from __future__ import annotations

import gymnasium

from tunemax.envs.ids import IDS

if __name__ != "tunemax.envs":  # a second copy of every module would be loaded
    raise ImportError("envs: this folder is imported as tunemax.envs; write `from tunemax import envs`")

for _id in IDS:
    gymnasium.register(
        _id,
        entry_point="tunemax.envs.environment:Steer",
        vector_entry_point="tunemax.envs.vector:SteerVector",
        disable_env_checker=False,
        kwargs={"name": _id},  # not the row itself: an argument `config` would replace all of the row's
    )
