"""Steered while it trains: a training as an environment, policies and agents.

Importing this registers the ids with Gymnasium and loads nothing else: no torch, no model.
``gymnasium.make("tunemax.envs:tunemax/Tiny-v0")`` imports it by itself; after ``gymnasium.register_envs(tunemax.envs)``
the part before the colon can be left out.
"""

from __future__ import annotations

import gymnasium

if __name__ != "tunemax.envs":  # a second copy of every module would be loaded
    raise ImportError("envs: this folder is imported as tunemax.envs; write `from tunemax import envs`")

IDS = {
    "tunemax/Constantmax-v0": "Constantmax",
    "tunemax/ConstantmaxGain-v0": "ConstantmaxGain",
    "tunemax/LearningRate-v0": "LearningRate",
    "tunemax/Joint-v0": "Joint",
    "tunemax/Tiny-v0": "Tiny",
    "tunemax/Steer-v0": "Steer",
}
"""Every id, and the class in `tunemax.envs.environment` that it is; the class in `tunemax.envs.vector` has `Vector`
behind it."""

for _id, _name in IDS.items():
    gymnasium.register(
        _id,
        entry_point=f"tunemax.envs.environment:{_name}",
        vector_entry_point=f"tunemax.envs.vector:{_name}Vector",
        disable_env_checker=False,
    )
