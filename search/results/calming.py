"""What would calm a configuration whose runs fall into two modes: fields of its recipe that are far from calm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunemax.gpt.config import GAIN, Config
from tunemax.search.results.order import enumerated


@dataclass(frozen=True)
class Calm:
    """A value of a field at which few runs are lost. words: what a step towards it is called."""

    field: str
    value: float
    words: str
    upwards: bool = False
    """Whether values above it are calm too; else those below it."""
    off: float | None = None
    """A value that switches off what the field is for."""

    def reached(self, now: float) -> bool:
        """Whether a configuration with this value is as calm already."""
        return now != self.off and (now >= self.value if self.upwards else now <= self.value)

    def advice(self, now: float) -> str:
        """``a longer warm-up (warmup_fraction 0.2; now 0.05)``."""
        named = "" if self.field in self.words else f"{self.field} "
        return f"{self.words} ({named}{self.value:g}; now {'off' if now == self.off else f'{now:.3g}'})"


CALM = (
    Calm("warmup_fraction", 0.2, "a longer warm-up", upwards=True),
    Calm("grad_clip", 0.25, "a smaller grad_clip", off=0.0),
)
"""Where training is calm, in the order in which it is advised; see docs/recipe.md."""
NARROW = 0.5
"""Initial weights below this part of what the width asks for are advised against first."""


def calming(name: str, config: Mapping[str, Any]) -> str:
    """One sentence on what would calm a candidate: fields that are not at a calm value yet, or a lower learning rate,
    by a half where all are.

    config: a stored configuration, flat.
    """
    stored = Config.stored(config)
    now, rate = stored.active(), stored.train.learning_rate
    std = stored.initial_std("hidden")
    narrow = std < NARROW * GAIN / math.sqrt(stored.model.n_embd)
    far = [f"wider initial weights (init_std 0; now {std:.3g})"] * narrow
    far += [calm.advice(now[calm.field]) for calm in CALM if calm.field in now and not calm.reached(now[calm.field])]
    lower = "a lower learning rate" if far else f"a lower learning rate ({rate / 2:.3g}; now {rate:.3g})"
    advice = enumerated([*far, lower], "or")
    return f"{advice[0].upper()}{advice[1:]} may calm {name}."
