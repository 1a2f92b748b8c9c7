"""What a report is made of: sections with sentences, tables, figures and commands.

HTML and Markdown are two ways to write it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of text.

    The first column names its row; the others are figures, to the right, unless they are named in `words`.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Figure:
    """An SVG whose colours follow the page. label: what it shows, for those who cannot see it."""

    label: str
    svg: str


@dataclass(frozen=True)
class Section:
    """A part of a report. lead: a sentence to be seen first. code: commands, a line each."""

    title: str
    lead: str = ""
    sentences: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    code: tuple[str, ...] = ()
