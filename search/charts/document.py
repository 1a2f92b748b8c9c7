"""What a report is made of: sections with sentences, tables, pictures and commands.

HTML and Markdown are two ways to write it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunemax.search.charts.picture import Picture


@dataclass(frozen=True)
class Table:
    """Rows of text.

    The first column names its row; the others are figures, to the right, unless they are named in `words`.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Section:
    """A part of a report. lead: a sentence to be seen first. code: commands, a line each."""

    title: str
    lead: str = ""
    sentences: tuple[str, ...] = ()
    figures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    code: tuple[str, ...] = ()
