"""JSON on the screen, for scripts."""

from __future__ import annotations

import json
import math
from typing import Any


def print_json(data: Any) -> None:
    """Print JSON that any reader takes: an infinite loss, which somebody may have told, is null."""

    def finite(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: finite(value) for key, value in part.items()}
        if isinstance(part, (list, tuple)):
            return [finite(value) for value in part]
        return None if isinstance(part, float) and not math.isfinite(part) else part

    print(json.dumps(finite(data), indent=1, allow_nan=False))
