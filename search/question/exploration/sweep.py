"""The trainings that an exploration file asks for, each of them once, and what is to be said of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunemax.gpt.data.sources import DATASETS
from tunemax.gpt.errors import did_you_mean
from tunemax.gpt.fields import Value, shown
from tunemax.search.question.exploration import shapes
from tunemax.search.question.exploration.meaning import Impossible, Misspelt, check_absent, meaning
from tunemax.search.question.exploration.names import NAMES, known, place, read
from tunemax.search.question.exploration.shapes import Branch, Combination, Given
from tunemax.search.question.yaml_lines import Fault, Where

SKIP = "--skip-impossible leaves such combinations out"
"""What is said of combinations that cannot be trained here."""


@dataclass(frozen=True)
class Training:
    """One training: the flat fields that it has, of which none is inert, and the named groups that it comes from."""

    fields: Mapping[str, Value]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Said:
    """A sentence about the file, and the places that it is about."""

    wheres: tuple[Where, ...]
    text: str


@dataclass(frozen=True)
class Sweep:
    """What an exploration file asks for."""

    trainings: Sequence[Training]
    eval_interval: int
    combinations: int
    """How many the file means, those included that are duplicates here or cannot be trained."""
    impossible: int
    said: Sequence[Said]

    @property
    def duplicates(self) -> int:
        """Combinations that train what another one trains."""
        return self.combinations - self.impossible - len(self.trainings)


def sweep(documents: Any, data: str | None = None, *, skip_impossible: bool = False) -> Sweep:
    """What the documents of an exploration file ask for.

    data: the text to train on, in place of the one that the file names. skip_impossible: leave out combinations that
    cannot be trained here, which else are refused. Raises Fault.
    """
    return _Collector(shapes.branches(documents, known), data).sweep(skip_impossible)


class _Collector:
    """Goes through all combinations of some branches."""

    def __init__(self, branches: Sequence[Branch], data: str | None) -> None:
        self._branches, self._data = branches, data
        self._values: dict[tuple[str, Where, Any], Value | Impossible | None] = {}
        self._places: dict[str, list[Where]] = {}
        self._trainings: dict[frozenset[tuple[str, Value]], Training] = {}
        self._inert, self._given, self._impossible = Counter[str](), Counter[str](), Counter[tuple[str, str, Where]]()
        self._first: dict[str, Given] = {}
        self._intervals: list[Given] = []
        self._taken: set[str] = set()

    def sweep(self, skip_impossible: bool) -> Sweep:
        total = 0
        for branch in self._branches:
            for name, setting in branch.settings.items():
                for given in setting.options:  # those that no condition ever sets are checked, too
                    self._value(name, given)
            for combination in shapes.combinations(branch):
                total += 1
                shapes.limit(total, ())
                self._take(combination, branch.labels)
        impossible = sum(self._impossible.values())
        if self._impossible and (not skip_impossible or impossible == total):
            (_, message, where), count = next(iter(self._impossible.items()))
            of_all = f"{count:,} of {total:,} combinations; {SKIP}"
            raise Fault(where, f"{message} ({'no combination is left' if skip_impossible else of_all})")
        said = [*self._aside(), *self._inert_ones(), *self._skipped(), *self._never()]
        interval = self._intervals[0].value if self._intervals else NAMES["eval_interval"].default
        return Sweep(list(self._trainings.values()), int(str(interval)), total, impossible, said)

    def _value(self, name: str, given: Given) -> Value | Impossible | None:
        """A value as it is read; why it cannot be had here; nothing for one that decides nothing."""
        key = (name, given.where, given.value if not isinstance(given.value, bool) else str(given.value))
        if key not in self._values:
            if given.where not in (places := self._places.setdefault(name, [])):
                places.append(given.where)
            self._values[key] = self._read(name, given)
        return self._values[key]

    def _read(self, name: str, given: Given) -> Value | Impossible | None:
        if given.value is None or place(name):
            return None
        if name not in NAMES:
            try:
                check_absent(name, given.value)
            except Impossible as error:
                return error
            return None
        value = read(name, given.value, given.where)
        return self._text(str(value), given.where) if name == "dataset" else value

    def _text(self, dataset: str, where: Where) -> str:
        """The text to train on."""
        if self._data is not None:
            return self._data
        name = dataset.removeprefix("./").removeprefix("data/")
        if name not in DATASETS:
            near = did_you_mean(name, DATASETS)
            raise Fault(where, f"dataset = {shown(dataset)}: not here{near}; choose a text with --data NAME_OR_PATH")
        return name

    def _take(self, combination: Combination, labels: tuple[str, ...]) -> None:
        given: dict[str, Value] = {} if self._data is None else {"dataset": self._data}
        self._taken |= combination.keys()
        for name, each in combination.items():
            value = self._value(name, each)
            if isinstance(value, Impossible):
                self._impossible[name, str(value), each.where] += 1
                return
            if value is not None:
                given[name] = value
        try:
            found = meaning(given)
        except Impossible as error:
            at = combination.get(error.name) or next(iter(combination.values()), Given(None, ()))
            if isinstance(error, Misspelt):
                raise Fault(at.where, str(error)) from None
            self._impossible[error.name, str(error), at.where] += 1
            return
        for name in given.keys() & combination.keys():
            self._given[name] += 1
            self._inert[name] += name not in found.asked
        self._one("dataset", "text", found.fields["dataset"], combination)
        self._one("max_iters", "horizon", found.fields["max_iters"], combination)
        if "eval_interval" in combination:
            self._intervals.append(Given(given["eval_interval"], combination["eval_interval"].where))
        key = frozenset(found.fields.items())
        self._trainings.setdefault(key, Training(found.fields, labels))

    def _one(self, name: str, noun: str, value: Value, combination: Combination) -> None:
        """Refuse a second value of what a study has one of."""
        where = combination[name].where if name in combination else ()
        first = self._first.setdefault(name, Given(value, where))
        if first.value != value:
            remedy = "choose it with --data" if name == "dataset" else "make a file of each"
            both = f"{shown(first.value)} and {shown(value)}"
            raise Fault(where or first.where, f"{name} is {both}: a study has one {noun}; {remedy}")

    def _aside(self) -> Iterator[Said]:
        """What decides nothing whatever its value, by the reason."""
        reasons: dict[str, list[str]] = {}
        for name in self._places:
            if reason := place(name):
                reasons.setdefault(reason, []).append(name)
        for reason, listed in reasons.items():
            yield Said(self._where(listed), f"{', '.join(listed)}: left out, {reason}")
        if len({given.value for given in self._intervals}) > 1:
            first = shown(self._intervals[0].value)
            yield Said(
                self._where(["eval_interval"]), f"eval_interval: all are evaluated alike, every {first} iterations"
            )

    def _inert_ones(self) -> Iterator[Said]:
        for name, count in sorted(self._inert.items(), key=lambda item: list(self._places).index(item[0])):
            if count:
                options = NAMES[name].variants
                why = f", an option of {' and '.join(options)}" if 0 < len(options) < 4 else ""
                often = "here" if count == self._given[name] else f"in {count:,} of {self._given[name]:,} combinations"
                yield Said(self._where([name]), f"{name}{why}: means nothing {often}")

    def _skipped(self) -> Iterator[Said]:
        counts = Counter[str]()
        for (_, message, _), count in self._impossible.items():
            counts[message] += count
        for message, count in counts.items():
            wheres = tuple(where for _, each, where in self._impossible if each == message)
            noun = "combination" if count == 1 else "combinations"
            yield Said(wheres, f"{message.partition('; ')[0]}: {count:,} {noun} left out")

    def _never(self) -> Iterator[Said]:
        """Settings whose conditions never hold."""
        for name in self._places:
            if name in NAMES and name not in self._taken:
                yield Said(self._where([name]), f"{name}: left out, no combination has it")

    def _where(self, listed: Iterable[str]) -> tuple[Where, ...]:
        return tuple(where for name in listed for where in self._places[name][:1])
