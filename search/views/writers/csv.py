"""Tables as CSV, every figure in full precision."""

from __future__ import annotations

import csv
import io
from typing import Any

from tunemax.gpt.visible import visible
from tunemax.search.views.document import Table

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""How what a spreadsheet computes begins, also behind blanks, and in the wide letters of East Asia."""


def render(table: Table[Any]) -> str:
    """The whole file: the columns' names, and a line a row."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_safe(column.name or column.head) for column in table.columns])
    writer.writerows([_safe(column.value(row)) for column in table.columns] for row in table.of)
    return file.getvalue()


def _safe(value: object) -> object:
    """A text is `visible`, and behind an apostrophe where a spreadsheet would take it for a formula."""
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.lstrip()[:1] in FORMULA else text
