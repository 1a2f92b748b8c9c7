"""Faults put in on purpose: each is applied to a copy of the sources, and the tests that should notice it run there.

    python tests/mutants.py                      # all of data/mutants/, two at a time
    python tests/mutants.py clip "seeds needed"  # those with one of these in their name
    python tests/mutants.py 3 17-20              # by number
    python tests/mutants.py --list               # numbers, names and what each breaks

A mutant that no test notices survives: either a test is missing, or what was changed does not matter and can go. The
tests are run without any fault first, since a test that fails anyway notices nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LISTS = Path(__file__).parent / "data" / "mutants"
COPIED = ("gpt", "envs", "search", "tunemax", "studies", "tests", "docs", "benchmarks", "pyproject.toml", "Makefile")
WARM = ("torch", "optuna", "sqlalchemy", "pydantic", "hypothesis", "scipy.stats", "gymnasium", "stable_baselines3")
"""What most tests need, loaded once for all of them: that takes longer than most tests."""
LIMIT = 600.0
"""Seconds after which tests that have not ended have noticed something: a loop without end, as a rule."""
USAGE, EMPTY = 4, 5
"""pytest's exit statuses where there are no such tests."""


@dataclass(frozen=True)
class Mutant:
    """One fault: in `file`, `old`, which is there once, becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    breaks: str
    """What is wrong then."""
    tests: tuple[str, ...]
    """As pytest has them: files, or single tests."""


@dataclass(frozen=True)
class Work:
    """Tests to run, with a mutant or without."""

    tests: tuple[str, ...]
    mutant: Mutant | None = None
    number: int = 0


@dataclass(frozen=True)
class Result:
    number: int
    mutant: Mutant
    outcome: str
    """killed, hung (killed, too), survived, or no tests."""
    seconds: float
    noticed: str
    """The first test that failed."""

    @property
    def survived(self) -> bool:
        return self.outcome not in ("killed", "hung")


# ---- the list --------------------------------------------------------------------------------------------------------


def read(lists: Path = LISTS) -> list[Mutant]:
    """All mutants, numbered by their place from 1. Raises SystemExit if one lacks a key, or two have a name."""
    found = []
    for path in sorted(lists.glob("*.yaml")):
        for given in yaml.safe_load(path.read_text()):
            if odd := {"name", "file", "old", "new", "breaks", "tests"} ^ given.keys():
                raise SystemExit(f"{path.name}: {given.get('name', given)}: missing or unknown: {sorted(odd)}")
            found.append(Mutant(**{**given, "tests": tuple(given["tests"])}))
    names = [mutant.name for mutant in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SystemExit(f"mutants of one name: {', '.join(sorted(twice))}")
    return found


def fault(mutant: Mutant, root: Path = ROOT) -> str | None:
    """What makes a mutant useless: its text is not there exactly once, it changes nothing, or a test is gone."""
    path = root / mutant.file
    count = path.read_text().count(mutant.old) if path.is_file() else 0
    if count != 1:
        return f"its text is {count} times in {mutant.file}, expected once"
    if mutant.old == mutant.new:
        return "it changes nothing"
    for test in mutant.tests:
        file, _, function = test.partition("::")
        text = (root / file).read_text() if (root / file).is_file() else None
        if text is None or (function and not re.search(rf"^def {function.partition('[')[0]}\(", text, re.MULTILINE)):
            return f"{test}: no such test"
    return None if mutant.tests else "no tests"


def chosen(mutants: Sequence[Mutant], words: Iterable[str]) -> list[tuple[int, Mutant]]:
    """Those that the words name by number, range of numbers, or part of a name, with their numbers; else all."""
    numbered = list(enumerate(mutants, 1))
    found: dict[int, Mutant] = {}
    for word in words:
        low, _, high = word.partition("-")
        if low.isdecimal() and (high or low).isdecimal():
            those = [(number, mutant) for number, mutant in numbered if int(low) <= number <= int(high or low)]
        else:
            those = [(number, mutant) for number, mutant in numbered if word.lower() in mutant.name.lower()]
        if not those:
            raise SystemExit(f"{word}: no such mutant; python tests/mutants.py --list names them")
        found |= dict(those)
    return sorted(found.items()) if found else numbered


# ---- running tests ---------------------------------------------------------------------------------------------------


def copied(root: Path, folder: Path) -> Path:
    """A copy of what the tests need."""
    ignored = shutil.ignore_patterns("__pycache__", "*.db*", "runs", ".*")
    for name in [*COPIED, *(path.name for path in root.glob("*.md"))]:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, symlinks=True, ignore=ignored)
        elif (root / name).is_file():
            shutil.copy(root / name, folder / name)
    return folder


class Testing:
    """A process, forked from this one, that runs some work in a copy: with its mutant, which is taken back later."""

    def __init__(self, work: Work, copy: Path, limit: float) -> None:
        self.work, self.copy, self.limit = work, copy, limit
        self.status: int | None = None
        """pytest's exit status; None while it runs, or if it was ended."""
        self._file = copy / work.mutant.file if work.mutant else None
        self._before = self._file.read_text() if self._file else ""
        if self._file and work.mutant:
            self._file.write_text(self._before.replace(work.mutant.old, work.mutant.new))
        self._out = copy.with_name(f"{copy.name}.out")
        self._begun = time.monotonic()
        self._process = os.fork()
        if not self._process:
            self._run()

    def _run(self) -> None:
        status = 3
        try:
            os.setsid()
            out = os.open(self._out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.chdir(self.copy)
            for name in [name for name in os.environ if name.startswith(("PYTEST", "TUNEMAX"))]:
                del os.environ[name]
            # Two versions of a file may be written within one second, and be of one size: Python would take old bytes
            os.environ |= {"PYTHONPATH": str(self.copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
            sys.dont_write_bytecode = True
            sys.path[:] = [str(self.copy), *(path for path in sys.path if path != str(Path(__file__).parent))]
            words = ["-x", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider", "--basetemp", f"{self.copy}.temporary"]
            status = int(pytest.main([*words, *self.work.tests]))
            sys.stdout.flush()
        finally:
            os._exit(status)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    @property
    def said(self) -> str:
        return self._out.read_text(errors="replace")

    def ended(self) -> bool:
        """Whether it has, by itself or since it took too long."""
        if self.seconds > self.limit:
            self.end()
            return True
        process, status = os.waitpid(self._process, os.WNOHANG)
        if process:
            self.status = os.waitstatus_to_exitcode(status)
            self._take_back()
        return bool(process)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        self._take_back()

    def _take_back(self) -> None:
        if self._file:
            self._file.write_text(self._before)


def run(every: Iterable[Work], copies: Sequence[Path], done: Callable[[Testing], None], limit: float = LIMIT) -> None:
    """Do all the work, a piece in each copy at a time; `done` hears of each that has ended."""
    waiting, free, under_way = list(every), list(copies), list[Testing]()
    try:
        while waiting or under_way:
            while waiting and free:
                under_way.append(Testing(waiting.pop(0), free.pop(0), limit))
            for testing in [testing for testing in under_way if testing.ended()]:
                under_way.remove(testing)
                free.append(testing.copy)
                done(testing)
            time.sleep(0.02)
    finally:
        for testing in under_way:
            testing.end()


def sound(tests: Iterable[str], copies: Sequence[Path]) -> str:
    """What fails without any mutant; nothing if all is well."""
    by_file: dict[str, list[str]] = {}
    for test in dict.fromkeys(tests):
        by_file.setdefault(test.partition("::")[0], []).append(test)
    faults: list[str] = []
    every = [Work((file,) if file in some else tuple(some)) for file, some in by_file.items()]
    run(every, copies, lambda testing: faults.extend([testing.said] if testing.status else []))
    return "\n".join(faults)


def judged(testing: Testing) -> Result:
    """What has become of a mutant."""
    assert testing.work.mutant
    first = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", testing.said, re.MULTILINE)
    outcome = "hung" if testing.status is None else "killed" if testing.status else "survived"
    if testing.status in (USAGE, EMPTY):
        outcome = "no tests"
    noticed = first.group(1) if first else ""
    return Result(testing.work.number, testing.work.mutant, outcome, testing.seconds, noticed)


# ---- the command -----------------------------------------------------------------------------------------------------


def table(results: Sequence[Result]) -> str:
    """One line a mutant: number, outcome, seconds, name, and who noticed."""
    wide = max(len(result.mutant.name) for result in results)
    return "\n".join(
        f"{result.number:>4}  {result.outcome:<9} {result.seconds:>4.0f} s  {result.mutant.name:<{wide}}  "
        f"{result.noticed.rpartition('/')[2]}"
        for result in sorted(results, key=lambda result: result.number)
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 if a mutant has survived. Raises SystemExit for a list that is not true any more."""
    parser = argparse.ArgumentParser(description="Put faults into a copy of the sources; see which tests notice.")
    parser.add_argument("which", nargs="*", help="numbers, ranges of them, or parts of names; default: all")
    parser.add_argument("--jobs", type=int, default=2, help="copies that are tested at once")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the sources; default: these")
    parser.add_argument("--lists", type=Path, default=LISTS, help="the folder of the list")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds that the tests of a mutant may take")
    given = parser.parse_args(argv)
    mutants = read(given.lists)
    wanted = chosen(mutants, given.which)
    if given.list:
        print("\n".join(f"{number:>4}  {mutant.name}: {mutant.breaks}" for number, mutant in wanted))
        return 0
    if faults := [f"{mutant.name}: {why}" for mutant in mutants if (why := fault(mutant, given.tree))]:
        raise SystemExit("\n".join(faults))
    if (given.tree / "search").is_dir():
        os.environ["OMP_NUM_THREADS"] = "1"
        for name in WARM:
            importlib.import_module(name)
    results: list[Result] = []

    def done(testing: Testing) -> None:
        results.append(judged(testing))
        print(f"{len(results):>4}/{len(wanted)}  {results[-1].outcome:<9} {results[-1].mutant.name}", flush=True)

    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [copied(given.tree, Path(folder, str(job))) for job in range(max(1, min(given.jobs, len(wanted))))]
        if wrong := sound((test for _, mutant in wanted for test in mutant.tests), copies):
            raise SystemExit(f"{wrong}\nthese tests fail without any mutant; mend them first")
        print(f"{len(wanted)} mutants; without one, their tests pass", flush=True)
        run((Work(mutant.tests, mutant, number) for number, mutant in wanted), copies, done, given.limit)
    survivors = [result for result in results if result.survived]
    print(f"\n{table(results)}\n\n{len(results)} mutants, {len(survivors)} survivors")
    for result in survivors:
        print(f"{result.outcome}: {result.mutant.name} ({result.mutant.file}): {result.mutant.breaks}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
