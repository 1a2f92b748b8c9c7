"""Documents one after the other, read as often as one asks: parted in a file of text, of a table, or articles."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tunemax.gpt.data.manifest import Part
from tunemax.gpt.data.skipped import Skipped
from tunemax.gpt.data.splits import Again, Split, ended
from tunemax.gpt.data.tables import rows, unpacked
from tunemax.gpt.errors import TunemaxError

SEPARATOR = b"<|endoftext|>"
"""Between documents of a text file, as GPT-2 has it."""
_PIECE = 1 << 20
_TITLE = re.compile(rb" = [^=].* = \s*")
"""The line that begins an article of WikiText; sections have more of =."""


class Separated(Iterable[bytes]):
    """The documents of a text file, between its separators, without line ends around them, each with one behind it."""

    def __init__(self, path: Path, skipped: Skipped) -> None:
        self._path, self._skipped = path, skipped

    def __iter__(self) -> Iterator[bytes]:
        skipped, self._skipped = self._skipped, Skipped()  # counted the first time
        left = b""
        with unpacked(self._path) as file:
            for number, document in enumerate(_parted(file.read, left), 1):
                text = document.strip(b"\r\n")
                if text.strip():
                    yield ended(text)
                else:
                    skipped.add("empty", f"document {number}")


def _parted(read: Callable[[int], bytes], left: bytes) -> Iterator[bytes]:
    while piece := read(_PIECE):
        *whole, left = (left + piece).split(SEPARATOR)
        yield from whole
    if left.strip():
        yield left


class Table(Iterable[bytes]):
    """The rows of a column of tables, given with their names, each with a line end behind it."""

    def __init__(self, tables: list[tuple[Path, str]], column: str, skipped: Skipped) -> None:
        self._tables, self._column, self._skipped = tables, column, skipped

    def __iter__(self) -> Iterator[bytes]:
        skipped, self._skipped = self._skipped, Skipped()  # counted the first time
        for path, name in self._tables:
            yield from map(ended, rows(path, self._column, skipped, name))


def articles(path: Path, skipped: Skipped) -> Split:
    """WikiText's archive, by its own parts: what it validates with is halved, by article, for tuning and confirmation.

    Raises TunemaxError for an archive without them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {re.sub(r".*wiki\.|\.(raw|tokens)$", "", name): name for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise TunemaxError(f"{path}: no zip archive that can be read ({error}); get it again") from error
    if missing := [part for part in ("train", "valid", "test") if part not in names]:
        raise TunemaxError(f"{path}: no wiki.{missing[0]}.raw in it; expected the archive of wikitext-103-raw-v1")

    def of(part: str, chosen: slice | None = None) -> Again:
        def read() -> Iterator[bytes]:
            with zipfile.ZipFile(path) as archive, archive.open(names[part]) as file:
                yield from _articles(file)

        return Again(read) if chosen is None else Again(lambda: iter(list(read())[chosen]))

    half = sum(1 for _ in of("valid")) // 2
    parts: dict[Part, Iterable[bytes]] = {
        "train": of("train"),
        "tuning": of("valid", slice(None, half)),
        "confirmation": of("valid", slice(half, None)),
        "test": of("test"),
    }
    return Split(parts, skipped=skipped)


def _articles(lines: Iterable[bytes]) -> Iterator[bytes]:
    article: list[bytes] = []
    for line in lines:
        if _TITLE.fullmatch(line) and any(each.strip() for each in article):
            yield ended(b"".join(article).strip(b"\n"))
            article = []
        article.append(line)
    if text := b"".join(article).strip(b"\n"):
        yield ended(text)
