"""Whole numbers as people write them: 15000, 15e3, 1.5e4."""

from __future__ import annotations

import re
from decimal import Decimal

MOST = 10**15
"""No count of anything here is larger: it is exact in JSON, and databases hold it."""
_WRITTEN = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{0,18})?([eE][+]?[0-9]{1,2})?")


def whole_number(text: str) -> int | None:
    """The whole number that a text writes, in digits or with an exponent; None if it writes none."""
    if not _WRITTEN.fullmatch(text):
        return None
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else None
