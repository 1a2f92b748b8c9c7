"""A length of time in words."""

from __future__ import annotations

import math


def about(seconds: float) -> str:
    """A length of time: ``about 40 s``, ``about 12 min``, ``about 3 h 10 min``, ``about 2 d 4 h``."""
    if seconds < 90:
        return f"about {max(5, 5 * math.ceil(seconds / 5 - 1e-9))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    hours, rest = divmod(10 * round(minutes / 10), 60)
    if hours < 24:
        return f"about {hours} h {rest} min" if rest else f"about {hours} h"
    days, hours = divmod(round(minutes / 60), 24)
    return f"about {days} d {hours} h" if hours else f"about {days} d"
