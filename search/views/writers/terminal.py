"""Tables and sentences as lines of a terminal."""

from __future__ import annotations

import shutil
import textwrap
from typing import Any

from tunemax.search.views.document import Table


def aligned(table: Table[Any]) -> list[str]:
    """Names to the left, all else to the right. The column of the names has no head."""
    rows = [("", *table.heads[1:]), *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        figures = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([name.ljust(widths[0]), *figures]).rstrip())
    return lines


WIDEST = 118
"""Characters of a line of prose, which else is hard to read; fewer where the terminal has fewer."""


def wrapped(*sentences: str) -> list[str]:
    """Sentences one after the other."""
    return [line for sentence in sentences for line in _filled(sentence)]


def listed(*sentences: str) -> list[str]:
    """Sentences as items of a list."""
    return [line for sentence in sentences for line in _filled(sentence, "- ", "  ")]


def _filled(text: str, first: str = "", then: str = "") -> list[str]:
    """Lines of a text, no wider than the terminal. first, then: what the first one and the others begin with."""
    width = min(WIDEST, max(40, shutil.get_terminal_size((WIDEST + 1, 24)).columns - 1))
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=then, break_long_words=False, break_on_hyphens=False
    )
