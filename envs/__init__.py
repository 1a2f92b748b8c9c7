"""Training as an environment. Importing this registers the ids with Gymnasium and loads nothing else: no torch, no model.

``gymnasium.make("envs:tunemax/Tiny-v0")`` imports it by itself; after ``gymnasium.register_envs(envs)`` the part before the
colon can be left out.
"""

from __future__ import annotations

import gymnasium

IDS = {
    "tunemax/Constantmax-v0": "Constantmax",
    "tunemax/ConstantmaxGain-v0": "ConstantmaxGain",
    "tunemax/LearningRate-v0": "LearningRate",
    "tunemax/Joint-v0": "Joint",
    "tunemax/Tiny-v0": "Tiny",
    "tunemax/Steer-v0": "Steer",
}
"""Every id, and the class in `envs.environment` that it is; the class in `envs.vector` has `Vector` behind it."""

for _id, _name in IDS.items():
    gymnasium.register(
        _id, entry_point=f"envs.environment:{_name}", vector_entry_point=f"envs.vector:{_name}Vector", disable_env_checker=False
    )
