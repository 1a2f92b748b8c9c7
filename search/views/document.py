"""What is shown, before it is written anywhere: tables by their columns, and the sections of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Generic, TypeVar

from tunemax.search.charts.picture import Picture
from tunemax.search.views.rounding import NONE

Row = TypeVar("Row")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One thing that a table says of each of its rows."""

    head: str
    value: Callable[[Row], Any]
    """In full precision; None where there is none."""
    rounded: Callable[[Any], str] = str
    """As people read it."""
    name: str = ""
    """As a CSV file calls it, if not by its head."""
    words: bool = False
    """To the left; figures stand to the right."""
    none: str = NONE

    def text(self, row: Row) -> str:
        value = self.value(row)
        return self.none if value is None else self.rounded(value)


@dataclass(frozen=True)
class Table(Generic[Row]):
    """Columns, the first of which names the row, of things of whatever kind."""

    columns: Sequence[Column[Row]]
    of: Sequence[Row]

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(column.head for column in self.columns)

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """As people read them."""
        return tuple(tuple(column.text(row) for column in self.columns) for row in self.of)


def at(path: str) -> Callable[[Any], Any]:
    """What lies at the end of a path of attributes; None where it breaks off."""

    def value(row: Any) -> Any:
        for name in path.split("."):
            row = None if row is None else getattr(row, name)
        return row

    return value


def tabulated(heads: Sequence[str], rows: Iterable[Sequence[Any]], words: Sequence[str] = ()) -> Table[Sequence[Any]]:
    """A table of cells that are there already. words: heads of columns beside the first that hold words."""
    columns = (Column[Any](head, itemgetter(i), words=not i or head in words) for i, head in enumerate(heads))
    return Table(tuple(columns), tuple(rows))


@dataclass(frozen=True)
class Section:
    """A part of a report, in the order in which it is read: the answer first, how to read it last."""

    title: str
    lead: str = ""
    """A sentence to be seen first."""
    sentences: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    """A list, below the sentences."""
    tables: tuple[Table[Any], ...] = ()
    after: tuple[str, ...] = ()
    """Sentences that follow from the tables."""
    notes: tuple[str, ...] = ()
    """How the tables and the figures are to be read, in small letters."""
    figures: tuple[Picture, ...] = ()
    code: tuple[str, ...] = ()
    """Commands, a line each."""

    @property
    def says_something(self) -> bool:
        """Beside how it is to be read."""
        return bool(self.figures) or self.has_words

    @property
    def has_words(self) -> bool:
        """Beside its figures, and how they are to be read."""
        return any((self.lead, self.sentences, self.items, self.tables, self.after, self.code))
