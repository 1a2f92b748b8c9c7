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
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
LISTS = Path(__file__).parent / "data" / "mutants"
COPIED = ("gpt", "envs", "search", "tunemax", "studies", "tests", "docs", "benchmarks", "pyproject.toml", "Makefile")
LIMIT = 600
"""Seconds after which tests that have not ended have noticed something: a loop without end, as a rule."""
FAILED, USAGE, EMPTY = 1, 4, 5  # of pytest's exit statuses


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
class Result:
    number: int
    mutant: Mutant
    outcome: str
    """killed, hung, survived, or what is wrong with its tests."""
    seconds: float
    noticed: str = ""
    """The first test that failed."""

    @property
    def survived(self) -> bool:
        return self.outcome not in ("killed", "hung")


def read(lists: Path = LISTS) -> list[Mutant]:
    """All mutants, numbered by their place from 1. Raises SystemExit if one lacks a key, or two have a name."""
    found = []
    for path in sorted(lists.glob("*.yaml")):
        for given in yaml.safe_load(path.read_text()):
            missing = {"name", "file", "old", "new", "breaks", "tests"} ^ given.keys()
            if missing:
                raise SystemExit(f"{path.name}: {given.get('name', given)}: missing or unknown: {sorted(missing)}")
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


def copied(folder: Path, root: Path = ROOT) -> Path:
    """A copy of what the tests need."""
    ignored = shutil.ignore_patterns("__pycache__", "*.db*", "runs", ".*")
    for name in [*COPIED, *(path.name for path in root.glob("*.md"))]:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, symlinks=True, ignore=ignored)
        elif (root / name).is_file():
            shutil.copy(root / name, folder / name)
    return folder


@contextmanager
def applied(mutant: Mutant, copy: Path) -> Iterator[None]:
    """The mutant in a copy, until the block ends."""
    path = copy / mutant.file
    before = path.read_text()
    path.write_text(before.replace(mutant.old, mutant.new))
    try:
        yield
    finally:
        path.write_text(before)


def tested(copy: Path, tests: Iterable[str], limit: float) -> tuple[int | None, str]:
    """pytest's exit status over some tests of a copy, None if they do not end; and what it printed."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TUNEMAX"))}
    # Two versions of a file may be written within one second, and be of one size: Python would take the older bytecode
    environment = {**own, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    words = ["-m", "pytest", "-x", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider", "--basetemp", f"{copy}-temporary"]
    process = subprocess.Popen(
        [sys.executable, *words, *tests],
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=limit)
    except BaseException as error:
        os.killpg(process.pid, 9)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return None, ""
        raise
    return process.returncode, out


def judged(number: int, mutant: Mutant, copy: Path, limit: float = LIMIT) -> Result:
    """What becomes of a mutant."""
    begun = time.monotonic()
    with applied(mutant, copy):
        status, out = tested(copy, mutant.tests, limit)
    seconds = time.monotonic() - begun
    if status in (USAGE, EMPTY):
        return Result(number, mutant, f"no tests: {out.strip().splitlines()[-1:]}", seconds)
    first = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", out, re.MULTILINE)
    outcome = "hung" if status is None else "killed" if status else "survived"
    return Result(number, mutant, outcome, seconds, first.group(1) if first else "")


def sound(copies: Sequence[Path], tests: Sequence[str]) -> str | None:
    """What fails, or is missing, without any mutant; None if all is well. The files are shared out among the copies."""
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    faults: list[str] = []

    def run(place: int) -> None:
        mine = [test for test in dict.fromkeys(tests) if files.index(test.partition("::")[0]) % len(copies) == place]
        status, out = tested(copies[place], mine, limit=3600) if mine else (0, "")
        if status:
            faults.append(out)

    in_threads(run, range(len(copies)))
    return "\n".join(faults) or None


def in_threads(run: Callable[[int], None], places: Iterable[int]) -> None:
    threads = [threading.Thread(target=run, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def table(results: Sequence[Result]) -> str:
    """One line a mutant: number, outcome, seconds, name, and who noticed."""
    wide = max(len(result.mutant.name) for result in results)
    rows = [
        f"{result.number:>4}  {result.outcome:<9} {result.seconds:>4.0f} s  {result.mutant.name:<{wide}}  "
        f"{result.noticed.rpartition('/')[2]}"
        for result in sorted(results, key=lambda result: result.number)
    ]
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None, root: Path = ROOT, lists: Path = LISTS) -> int:
    parser = argparse.ArgumentParser(description="Put faults into a copy of the sources; see which tests notice.")
    parser.add_argument("which", nargs="*", help="numbers, ranges of them, or parts of names; default: all")
    parser.add_argument("--jobs", type=int, default=2, help="copies that are tested at once")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    arguments = parser.parse_args(argv)
    mutants = read(lists)
    wanted = chosen(mutants, arguments.which)
    if arguments.list:
        print("\n".join(f"{number:>4}  {mutant.name}: {mutant.breaks}" for number, mutant in wanted))
        return 0
    if faults := [f"{mutant.name}: {why}" for mutant in mutants if (why := fault(mutant, root))]:
        raise SystemExit("\n".join(faults))
    results: list[Result] = []
    waiting: queue.SimpleQueue[tuple[int, Mutant]] = queue.SimpleQueue()
    for each in wanted:
        waiting.put(each)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [copied(Path(folder, str(job)), root) for job in range(max(1, min(arguments.jobs, len(wanted))))]
        if wrong := sound(copies, [test for _, mutant in wanted for test in mutant.tests]):
            raise SystemExit(f"{wrong}\nthese tests fail without any mutant; mend them first")
        print(f"{len(wanted)} mutants; without one, their tests pass", flush=True)

        def work(place: int) -> None:
            while not waiting.empty():
                result = judged(*waiting.get(), copies[place])
                results.append(result)
                print(f"{len(results):>4}/{len(wanted)}  {result.outcome:<9} {result.mutant.name}", flush=True)

        in_threads(work, range(len(copies)))
    survivors = [result for result in results if result.survived]
    print(f"\n{table(results)}\n\n{len(results)} mutants, {len(survivors)} survivors")
    for result in survivors:
        print(f"{result.outcome}: {result.mutant.name} ({result.mutant.file}): {result.mutant.breaks}")
    return FAILED if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
