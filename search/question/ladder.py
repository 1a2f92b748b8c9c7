"""The ladder of a sibling: a few learning rates at which its first known baseline is tried.

Which rate is best depends on the size of a model and on its horizon far more than on its variant, and a default is off
by a factor of ten where models are small. A baseline at a poor rate says nothing of its other settings. So the first
one climbs a ladder of rates, the same for all siblings that search the same range, and all further ones are tried at
the rate that was best on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tunemax.gpt.fields import Range, Value
from tunemax.search.question.definition import StudyDefinition

RATE = "learning_rate"
SINCE = 3
"""The first schema of definitions that have a ladder; before it, a baseline's rate is the default."""
RUNGS = (1 / 2, 5 / 6, 1 / 6)
"""Where the rungs lie, as shares of the range in its logarithm, in the order in which they are tried."""
PART = 3
"""At most one in so many trials of a sibling is a rung; but there is always one."""


def rungs(definition: StudyDefinition, fixed: Mapping[str, Value]) -> tuple[float, ...]:
    """The learning rates of a sibling's ladder, in the order in which they are tried.

    None where the rate is not searched, is one of a list, or is a dimension of a grid, and in a question from before.
    """
    dimension = definition.dimensions(fixed).get(RATE)
    if definition.schema_version < SINCE or definition.sampler.is_grid or not isinstance(dimension, Range):
        return ()
    count = max(1, definition.budget.trials // PART)
    return tuple(dict.fromkeys(_rung(share, dimension) for share in RUNGS[:count]))


def _rung(share: float, over: Range) -> float:
    """The rate at a share of a range, to three digits or on the nearest step; no rate is 0 or below."""
    start, end = math.log(over.low), math.log(over.high)
    rate = math.exp(start + share * (end - start))
    if over.step is not None:
        steps = min(round((rate - over.low) / over.step), math.floor((over.high - over.low) / over.step + 1e-9))
        return min(over.low + steps * over.step, over.high)  # 0.032 + 2 · 0.002 is more than 0.036
    return min(max(float(f"{rate:.3g}"), over.low), over.high)
