"""Tables as Markdown, and a whole report: all its words and tables; its figures are in the HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tunemax.search.views.document import Section, Table

SPECIAL = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#"} | {"\n": " ", "\r": " "})


def render(title: str, sections: Sequence[Section]) -> str:
    """The whole text."""
    lines = [f"# {_plain(title)}", ""]
    for section in sections:
        if not section.has_words:
            continue  # figures alone, which are not here
        lines += [f"## {_plain(section.title)}", ""]
        if section.lead:
            lines += [f"**{_plain(section.lead)}**", ""]
        for sentence in section.sentences:
            lines += [_plain(sentence), ""]
        lines += [*(f"- {_plain(item)}" for item in section.items), *[""] * bool(section.items)]
        for table in section.tables:
            lines += [*rows(table, _plain), ""]
        for sentence in (*section.after, *section.notes):
            lines += [_plain(sentence), ""]
        if section.code:
            lines += [*(f"    {line}" for line in section.code), ""]
    return "\n".join(lines)


def rows(table: Table[Any], cell: Callable[[str], str] = str) -> list[str]:
    """The lines of a table. cell: what becomes of a cell's text, which may be Markdown itself."""
    marks = ["---" if column.words else "--:" for column in table.columns]
    lines = ["|".join(f" {cell(text)} " for text in row) for row in (table.heads, *table.rows)]
    return [f"|{line}|" for line in (lines[0], "|".join(marks), *lines[1:])]


def _plain(text: str) -> str:
    """Text in which nothing is markup."""
    return text.translate(SPECIAL)
