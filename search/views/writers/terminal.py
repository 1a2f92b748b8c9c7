"""Tables and sentences as lines of a terminal."""

from __future__ import annotations

import math
import re
import shlex
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from tunemax.search.views.document import Table


def aligned(table: Table[Any]) -> list[str]:
    """Names to the left, all else to the right. The column of the names has no head.

    Where a terminal is too narrow, columns stand closer; those that do not fit even then follow below, with the names
    again.
    """
    columns = [[head, *cells] for head, *cells in zip(["", *table.heads[1:]], *table.rows, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    lines: list[str] = []
    gap = next((gap for gap in (2, 1) if sum(widths) + gap * (len(widths) - 1) <= room()), 2)
    for block in _blocks(widths, gap, room()):
        rows = zip(*(columns[place] for place in block), strict=True)
        lines += [""] * bool(lines)
        for name, *cells in rows:
            figures = (cell.rjust(widths[place]) for cell, place in zip(cells, block[1:], strict=True))
            lines.append((" " * gap).join([name.ljust(widths[0]), *figures]).rstrip())
    return lines


def annotated(table: Table[Any], head: str, notes: Sequence[str]) -> list[str]:
    """A table with a note of any length at the end of each row; below it, if a note does not fit there."""
    lines = aligned(table)
    if len(lines) == len(notes) + 1:
        beside = [f"{line}  {note}".rstrip() for line, note in zip(lines, [head, *notes], strict=True)]
        if max(map(len, beside)) <= room():
            return beside
    names = [name for name, *_ in table.rows]
    below = (f"{name}: {note}" for name, note in zip(names, notes, strict=True) if note)
    return [*lines, "", f"{head}:", *listed(*below)]


def room() -> float:
    """Characters of a line: those of the terminal, less one; any number where there is none."""
    columns = shutil.get_terminal_size((0, 0)).columns
    return max(columns - 1, 40) if columns else math.inf


def _blocks(widths: Sequence[int], gap: int, most: float) -> list[list[int]]:
    """Places of columns that stand side by side, the first of them in each block."""
    blocks = [[0]]
    for place in range(1, len(widths)):
        block = blocks[-1]
        if len(block) > 1 and sum(widths[other] + gap for other in block) + widths[place] > most:
            blocks.append(block := [0])
        block.append(place)
    return blocks


WIDEST = 118
"""Characters of a line of prose, which else is hard to read; fewer where the terminal has fewer."""


def wrapped(*sentences: str) -> list[str]:
    """Sentences one after the other."""
    return [line for sentence in sentences for line in _filled(sentence)]


def listed(*sentences: str) -> list[str]:
    """Sentences as items of a list."""
    return [line for sentence in sentences for line in _filled(sentence, "- ", "  ")]


def hanging(head: str, text: str) -> str:
    """A head and a text that goes on under its own beginning where a terminal is too narrow; one line elsewhere."""
    if len(head) + len(text) <= room():
        return head + text
    width, under = int(room()), " " * min(len(head), 24)
    return "\n".join(_broken(text, width, head, under))


def side_by_side(*parts: str) -> str:
    """Parts on one line; those that do not fit a terminal stand below, indented. An empty one is left out."""
    lines = [""]
    for part in filter(None, parts):
        line = f"{lines[-1]}  {part}" if lines[-1] else part
        if len(line) > room() and lines[-1].strip():
            lines.append(f"  {part}")
        else:
            lines[-1] = line
    return "\n".join(lines)


def command(words: Sequence[str]) -> str:
    """A command to be copied: where a terminal is too narrow it goes on in the next line, as a shell reads it."""
    return "\n".join(_shell_lines([shlex.quote(word) for word in words], room(), "  "))


def with_command(text: str, command: str) -> str:
    """A text that ends with a command, which stands below where a terminal is too narrow for both."""
    if len(text) + len(command) < room():
        return f"{text} {command}"
    return "\n".join([*_filled(text), *_filled(command, "  ", "  ")])


def _filled(text: str, first: str = "", then: str = "") -> list[str]:
    """Lines of a text, no wider than the terminal. first, then: what the first one and the others begin with."""
    return _broken(text, int(min(WIDEST, room())), first, then)


_WORD = r"(?:[^\s'\"]|'[^']*'|\"[^\"]*\")+"
_COMMAND = re.compile(
    r"(?<!\S)(?:tunemax (?:study|train|sample|compare|browse|rl|report|dashboard|clean|prepare|fields|variants|doctor)"
    r"|optuna [a-z-]+)"
    rf"(?: (?!\(){_WORD}?)*(?=[;:,.]?(?: \(|$)|[;:,.] )"
)
"""A command that is named in a sentence: up to a mark behind a word, a bracket, or the end."""
_BETWEEN, _WITHIN = "\0", "\1"
"""Stand for the spaces between and within the words of a command while lines are made."""


def _broken(text: str, width: int, first: str, then: str) -> list[str]:
    """Lines of so many characters. A command is not broken, so that it can be copied; one that is wider than a line
    goes on in the next as a shell reads it."""
    lines = textwrap.wrap(
        _COMMAND.sub(_in_one, text),
        width,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )
    parts = (part for line in lines for part in _shell_lines(line.split(_BETWEEN), width, f"{then}  "))
    return [part.replace(_WITHIN, " ") for part in parts]


def _in_one(command: re.Match[str]) -> str:
    return _BETWEEN.join(word.replace(" ", _WITHIN) for word in re.findall(_WORD, command[0]))


def _shell_lines(words: Sequence[str], width: float, under: str) -> list[str]:
    """Words of a shell on lines of so many characters, each but the last with the mark that it goes on."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) + len("  \\") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{under if lines else ''}{word}")
    return [*(f"{line} \\" for line in lines[:-1]), *lines[-1:]]
