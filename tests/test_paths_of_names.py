"""Every path that is made of a name is made by `inside`: read from the sources, as far as their types say it.

A path is what is annotated as one, what a function returns that says so, and what is made of these. What a path may be
joined with elsewhere is a constant: a text, or a name in capitals.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
    for floor in ("gpt", "envs", "search")
    for path in sorted((ROOT / floor).rglob("*.py"))
}
FREE = {
    "gpt/paths.py": "is where it is made",
    "gpt/files.py": "puts a draft of a path beside it",
    "gpt/run.py": "has an event file's folder beside that of the run, both by their user's names",
    "gpt/compile/library.py": "calls files by digests",
    "gpt/data/sources.py": "reads the files that a folder has",
    "gpt/data/splits.py": "reads the files that a folder has",
    "search/question/plugins.py": "finds the plug-ins that the user's file names",
    "search/storage/backends.py": "looks beside the user's file for its log",
    "search/storage/marks.py": "follows what the system says of processes",
    "search/machine/disk.py": "measures the files that a folder has",
    "search/machine/limits.py": "follows what the system says of itself",
    "search/storage/database.py": "puts a draft beside the user's file",
    "search/storage/paths.py": "has the runs beside the user's file",
}
"""Sources that join otherwise, and why they may."""
REMOVING = {"gpt/files.py": {"rmtree"}}
"""Who removes whole folders: those that it has made itself."""
PATHS = {"absolute", "cwd", "expanduser", "home", "joinpath", "resolve", "with_name", "with_stem", "with_suffix"}
"""Methods of a path that give another one."""


def returning(trees: Iterator[ast.Module]) -> set[str]:
    """Functions that say that they return a path, by name."""
    functions = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {function.name for function in functions if function.returns and _says_path(function.returns)}


def joins(tree: ast.Module, returning: set[str]) -> list[str]:
    """Where a path is made of one and of something that is no constant."""
    names = _names(tree, returning)
    found = []
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and _is_path(node.left, names, returning):
            parts = [node.right]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called.rpartition(".")[2] in ("joinpath", "with_name", "with_stem") or called == "os.path.join":
                parts = list(node.args)
            elif called == "Path":
                parts = list(node.args[1:])
        found += [f"{node.lineno}: {ast.unparse(node)}" for part in parts if not _is_constant(part)]  # type: ignore[attr-defined]
    return found


def _names(tree: ast.Module, returning: set[str]) -> set[str]:
    """Variables, attributes and parameters of a module that are paths, as it says or makes them."""
    names: set[str] = set()
    for _ in range(3):  # what is made of one that is found in a later line
        for node in ast.walk(tree):
            if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation and _says_path(node.annotation):
                names.add(node.arg if isinstance(node, ast.arg) else ast.unparse(node.target))
                if isinstance(node, ast.AnnAssign):
                    names.add(f"self.{ast.unparse(node.target)}")
            elif isinstance(node, (ast.Assign, ast.NamedExpr)) and _is_path(node.value, names, returning):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {ast.unparse(target) for target in targets}
    return names


def _is_path(node: ast.expr, names: set[str], returning: set[str]) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Div) and _is_path(node.left, names, returning)
    if isinstance(node, ast.BoolOp):
        return any(_is_path(value, names, returning) for value in node.values)
    if isinstance(node, ast.IfExp):
        return _is_path(node.body, names, returning) or _is_path(node.orelse, names, returning)
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func).rpartition(".")[2]
        return called in {"Path", *returning} or (called in PATHS and isinstance(node.func, ast.Attribute))
    if isinstance(node, ast.Attribute) and node.attr == "parent":
        return _is_path(node.value, names, returning)
    return ast.unparse(node) in names


def _says_path(annotation: ast.expr) -> bool:
    return any(part.strip() == "Path" for part in ast.unparse(annotation).split("|"))


def _is_constant(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_constant(node.left) and _is_constant(node.right)
    return isinstance(node, ast.Constant) or ast.unparse(node).rpartition(".")[2].isupper()


RETURNING = returning(iter(SOURCES.values()))


@pytest.mark.parametrize("path", [path for path in SOURCES if path not in FREE])
def test_no_source_makes_a_path_of_a_name_by_itself(path: str) -> None:
    assert joins(SOURCES[path], RETURNING) == []


@pytest.mark.parametrize("path", FREE)
def test_who_may_does(path: str) -> None:
    assert joins(SOURCES[path], RETURNING), "take it from the list"


@pytest.mark.parametrize("path", SOURCES)
def test_whole_folders_are_removed_in_one_place(path: str) -> None:
    calls = {ast.unparse(node.func) for node in ast.walk(SOURCES[path]) if isinstance(node, ast.Call)}
    removing = {call.rpartition(".")[2] for call in calls} & {"rmtree", "removedirs"}
    assert removing == REMOVING.get(path, set())


@pytest.mark.parametrize(
    "source",
    [
        "def f(folder: Path, name: str): return folder / name",
        "def f(folder: Path | None, name): return folder / f'{name}.json'",
        "def f(url, study): return runs_folder(url) / study / 'report'",
        "class A:\n    root: Path\n    def f(self, n): return self.root / 'a' / n",
        "def f(path: Path, n): return path.parent / n",
        "def f(path: Path, n): return path.with_name(n)",
        "def f(n):\n    root = Path('runs')\n    other = root\n    return other / n",
        "def f(a, b): return os.path.join(a, b)",
        "def f(a, b): return Path(a, b)",
        "def f(given: str, n): return (Path(given) if given else None) / n",
    ],
)
def test_the_walk_sees_every_kind_of_join(source: str) -> None:
    assert joins(ast.parse(source), {"runs_folder"})


@pytest.mark.parametrize(
    "source",
    [
        "def f(a: float, b: float): return a / b",
        "def f(folder: Path): return folder / 'report' / FILE",
        "def f(folder: Path): return folder / paths.REPORT",
        "def f(runs: list[Path], n): return len(runs) / n",
    ],
)
def test_the_walk_takes_nothing_else_for_one(source: str) -> None:
    assert joins(ast.parse(source), {"runs_folder"}) == []
