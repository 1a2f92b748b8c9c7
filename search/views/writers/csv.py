"""Tables as CSV, every figure in full precision."""

from __future__ import annotations

import csv
import io
from typing import Any

from tunemax.search.views.document import Table


def render(table: Table[Any]) -> str:
    """The whole file: the columns' names, and a line a row."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column.name or column.head for column in table.columns])
    writer.writerows([_safe(column.value(row)) for column in table.columns] for row in table.of)
    return file.getvalue()


def _safe(value: object) -> object:
    """A text that a spreadsheet would take for a formula is quoted."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
