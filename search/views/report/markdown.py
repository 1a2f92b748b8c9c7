"""A report as Markdown: all its words and tables; its figures are in the HTML."""

from __future__ import annotations

from collections.abc import Sequence

from tunemax.search.charts.document import Section, Table

SPECIAL = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#"} | {"\n": " ", "\r": " "})


def render(title: str, sections: Sequence[Section]) -> str:
    """The whole text."""
    lines = [f"# {_plain(title)}", ""]
    for section in sections:
        lines += [f"## {_plain(section.title)}", ""]
        if section.lead:
            lines += [f"**{_plain(section.lead)}**", ""]
        for sentence in section.sentences:
            lines += [_plain(sentence), ""]
        for table in section.tables:
            lines += [*_table(table), ""]
        if section.code:
            lines += [*(f"    {line}" for line in section.code), ""]
    return "\n".join(lines)


def _table(table: Table) -> list[str]:
    marks = ["---" if index == 0 or column in table.words else "--:" for index, column in enumerate(table.columns)]
    return [_row(table.columns), f"|{'|'.join(marks)}|", *(_row(row) for row in table.rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _plain(text: str) -> str:
    """Text in which nothing is markup."""
    return text.translate(SPECIAL)
