"""Tables as Markdown, and a whole report: all its words and tables; its figures are in the HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tunemax.gpt.visible import visible
from tunemax.search.views.document import Section, Table

SPECIAL = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#"} | {"\n": " ", "\r": " "})

CODE = str.maketrans({"`": "'", "|": "\\|", "\n": " ", "\r": " "})


def render(title: str, sections: Sequence[Section]) -> str:
    """The whole text."""
    lines = [f"# {plain(title)}", ""]
    for section in sections:
        if not section.has_words:
            continue  # figures alone, which are not here
        lines += [f"## {plain(section.title)}", ""]
        if section.lead:
            lines += [f"**{plain(section.lead)}**", ""]
        for sentence in section.sentences:
            lines += [plain(sentence), ""]
        lines += [*(f"- {plain(item)}" for item in section.items), *[""] * bool(section.items)]
        for table in section.tables:
            lines += [*rows(table, plain), ""]
        for sentence in (*section.after, *section.notes):
            lines += [plain(sentence), ""]
        if section.code:
            lines += [*(f"    {line}" for code in section.code for line in visible(code).split("\n")), ""]
    return "\n".join(lines)


def rows(table: Table[Any], cell: Callable[[str], str] = str) -> list[str]:
    """The lines of a table. cell: what becomes of a cell's text, which may be Markdown itself."""
    marks = ["---" if column.words else "--:" for column in table.columns]
    lines = ["|".join(f" {cell(text)} " for text in row) for row in (table.heads, *table.rows)]
    return [f"|{line}|" for line in (lines[0], "|".join(marks), *lines[1:])]


def code(text: str) -> str:
    """Text as code in one line, also in a table."""
    return f"`{visible(text.translate(CODE))}`"


def plain(text: str) -> str:
    """Text in one line in which nothing is markup, or hidden."""
    return visible(text.translate(SPECIAL))
