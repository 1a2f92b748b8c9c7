"""Rows of tables as documents, one after the other: a column of jsonl or parquet; and packed files, unpacked."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from tunemax.gpt.data.skipped import Skipped
from tunemax.gpt.errors import TunemaxError, did_you_mean

PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
OTHERS_PACKED = (".zst", ".zip", ".7z", ".lz4", ".br")
LINES, PARQUET = (".jsonl", ".ndjson"), ".parquet"
_ROWS = 1024  # of a parquet file, read at once


@contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """A file as it is, or what is packed in it, as its name says. Raises TunemaxError where that cannot be read."""
    if path.suffix in OTHERS_PACKED:
        others = f"unpack it, or pack it as {', '.join(PACKED)}"
        raise TunemaxError(f"{path}: {path.suffix} cannot be unpacked here; {others}")
    with cast(IO[bytes], PACKED.get(path.suffix, open)(path, "rb")) as file:
        try:
            yield file
        except (EOFError, lzma.LZMAError, gzip.BadGzipFile, OSError) as error:
            if path.suffix not in PACKED or (isinstance(error, OSError) and error.errno is not None):
                raise
            raise TunemaxError(f"{path}: cannot be unpacked ({error}); get it again") from error


def bare(path: Path) -> Path:
    """A file's path without what says how it is packed."""
    return path.with_suffix("") if path.suffix in PACKED else path


def is_table(path: Path) -> bool:
    return bare(path).suffix in LINES or path.suffix == PARQUET


def rows(path: Path, column: str, skipped: Skipped, where: str) -> Iterator[bytes]:
    """The texts of a column, those without any left out. where: as the table is called.

    Raises TunemaxError for a table without this column, or a row that is none.
    """
    read = _of_parquet if path.suffix == PARQUET else _of_lines
    for name, value in read(path, column, where):
        if value is None or not value.strip():
            skipped.add("empty", name)
        else:
            yield value.encode("utf-8", errors="replace")


def _of_lines(path: Path, column: str, where: str) -> Iterator[tuple[str, str | None]]:
    known: list[str] | None = None
    with unpacked(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{where}:{number}"
            try:
                row: Any = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise TunemaxError(f"{place}: no JSON ({_said(error)}); mend this line, or leave it out") from error
            if not isinstance(row, dict):
                raise TunemaxError(f"{place}: expected {{...}}, names with values; mend this line, or leave it out")
            if known is None:
                known = list(row)
                check_column(column, known, where)
            value = row.get(column)
            if value is not None and not isinstance(value, str):
                found = f"{column} is {json.dumps(value)[:40]}, expected text"
                raise TunemaxError(f"{place}: {found}; mend this line, or leave it out")
            yield place, value


def _of_parquet(path: Path, column: str, where: str) -> Iterator[tuple[str, str | None]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        needs = "reading parquet needs the package pyarrow, which is not installed; pip install 'tunemax[parquet]'"
        raise TunemaxError(f"{where}: {needs}") from None
    try:
        with parquet.ParquetFile(path) as table:
            kinds = {field.name: str(field.type) for field in table.schema_arrow}
            check_column(column, list(kinds), where)
            if kinds[column] not in ("string", "large_string", "string_view"):
                raise TunemaxError(f"column = {column}: in {where} it is {kinds[column]}, expected string")
            number = 0
            for batch in table.iter_batches(batch_size=_ROWS, columns=[column], use_threads=False):
                for value in batch.column(0).to_pylist():
                    number += 1
                    yield f"{where}:{number}", value
    except pyarrow.ArrowException as error:
        raise TunemaxError(f"{where}: no parquet that can be read ({_said(error)}); get it again") from error


def check_column(column: str, known: list[str], where: str) -> None:
    """Raise TunemaxError for a column that a table does not have."""
    if column not in known:
        asked = f"column = {column}: no such column in {where}" if column else f"{where}: a table; say --column"
        raise TunemaxError(f"{asked}{did_you_mean(column, known)}")


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
