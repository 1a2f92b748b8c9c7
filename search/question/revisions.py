"""A plug-in as it was at a revision of git, beside the one of now: its parts get names of their own.

Two plug-ins of one name cannot be loaded at once, and no part may be registered twice. So the file of a revision is
written anew under another name, in which nothing differs but the names of its parts: ``my_max`` at 1a2b3c4 is
``my_max_at_1a2b3c4``. From there on it is a plug-in like any other, with a digest of its own.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunemax.gpt import plugins
from tunemax.gpt.config import PARTS
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import write_whole
from tunemax.gpt.parts import Part
from tunemax.gpt.paths import caches, inside, path_typed

AT = "@"
SUFFIX = ".py"
FOLDER = "revisions"
"""Of the files that are written here, in the user's cache: git has what they are made of."""
NAMED = (*PARTS, "softmax_variant_output")
"""Fields whose value is the name of a part."""


@dataclass(frozen=True)
class Revised:
    """A plug-in that is loaded, as the parts of a configuration."""

    word: str
    """As it was named: ``my_max.py@HEAD~1``."""
    label: str
    """``my_max``, or ``my_max_at_1a2b3c4``."""
    kinds: tuple[type[Part], ...]
    names: Mapping[str, str]
    """Of each part: the name that its code has → the one that it has here."""

    def within(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Some flat fields, with these parts in place of those that they name. What a part of the same name was given,
        it has. Raises TunemaxError where it is not clear which of the parts is meant."""
        back = {own: name for other in _loaded_at(self.names) for name, own in other.items()}
        found: dict[str, Any] = {}
        for key, value in fields.items():
            *owner, own = key.split(".")
            moved = [self.names.get(back.get(each, each), each) for each in owner]
            is_name = key in NAMED and isinstance(value, str)
            found[".".join([*moved, own])] = self.names.get(back.get(value, value), value) if is_name else value
        for field in dict.fromkeys(kind.field for kind in self.kinds):
            own_names = [kind.name for kind in self.kinds if kind.field == field]
            if found.get(field) not in own_names:
                if len(own_names) > 1:
                    listed = ", ".join(own_names)
                    raise TunemaxError(f"{self.word}: brings {listed}; say with --{field} which is meant")
                found[field] = own_names[0]
        return found


_made: dict[str, Mapping[str, str]] = {}
"""Of each plug-in that was loaded here, by its word: the names of its parts."""


def is_plugin(word: str) -> bool:
    """Whether somebody means a file of a plug-in, as it is or at a revision."""
    file, _, revision = word.partition(f"{SUFFIX}{AT}")
    return word.endswith(SUFFIX) or bool(file and revision)


def revised(word: str) -> Revised:
    """Load ``FILE.py``, or ``FILE.py@REVISION`` as git has it. Raises TunemaxError if that cannot be."""
    stem, mark, revision = word.partition(f"{SUFFIX}{AT}")
    file = path_typed(f"{stem}{SUFFIX}" if mark else word)
    commit = _commit(file, revision) if mark else ""
    code = _at(file, commit, revision) if mark else b""
    if not mark or (file.is_file() and file.read_bytes() == code):  # it has not changed since
        plugin = plugins.load(file, "judge")
        return _as_parts(word, plugin, {kind.name: kind.name for kind in plugin.kinds})
    label = f"{file.stem}_at_{_git(file, 'rev-parse', '--short=7', commit).decode().strip()}"
    renamed, names = _renamed(code, label.removeprefix(file.stem), word)
    path = inside(caches(), FOLDER, f"{label}{SUFFIX}")
    if not (path.is_file() and path.read_bytes() == renamed):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, renamed)
    try:
        plugin = plugins.load(path, "judge")
    except TunemaxError as error:
        raise TunemaxError(f"{word}: {error}") from error
    return _as_parts(word, plugin, names)


def _as_parts(word: str, plugin: plugins.Plugin, names: Mapping[str, str]) -> Revised:
    _made[plugin.word] = names
    return Revised(word, plugin.name, plugin.kinds, names)


def _loaded_at(names: Mapping[str, str]) -> list[Mapping[str, str]]:
    """The names that the same parts have at other revisions."""
    return [other for other in _made.values() if names.keys() & other.keys()]


def _commit(file: Path, revision: str) -> str:
    """The whole hash of a revision. Raises TunemaxError, in one line, if there is none."""
    _git(file, "rev-parse", "--is-inside-work-tree")
    try:
        if revision.startswith("-"):
            raise TunemaxError("no revision begins so")
        return _git(file, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").decode().strip()
    except TunemaxError:
        known = _git(file, "log", "-3", "--all", "--format=%h").decode().split()
        listed = f"; the last ones are {', '.join(known)}" if known else ""
        raise TunemaxError(f"{file}{AT}{revision}: git knows no revision {revision}{listed}") from None


def _at(file: Path, commit: str, revision: str) -> bytes:
    """The code of a file at a commit. Raises TunemaxError if it is not there."""
    try:
        return _git(file, "show", f"{commit}:./{file.name}")
    except TunemaxError:
        since = _git(file, "log", "--format=%h", "--diff-filter=A", "--", file.name).decode().split()
        there = f"; it is there since {since[-1]}" if since else "; it was never committed"
        raise TunemaxError(f"{file}{AT}{revision}: has no {file.name}{there}") from None


def _git(file: Path, *words: str) -> bytes:
    """What git prints in the folder of a file. Raises TunemaxError with what it says if it fails."""
    try:
        done = subprocess.run(["git", "-C", str(file.parent), *words], capture_output=True, check=False)
    except OSError as error:
        raise TunemaxError(f"{file}: its revisions need git, which cannot be run ({error.strerror})") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["git failed"]
        raise TunemaxError(f"{file}: {said[0].removeprefix('fatal: ')}")
    return done.stdout


def _renamed(code: bytes, ending: str, word: str) -> tuple[bytes, dict[str, str]]:
    """Code in which each part has this behind its name, and no alias; and the names, by those of before."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError) as error:
        raise TunemaxError(f"{word}: not Python ({error})") from error
    names: dict[str, str] = {}
    changes: list[tuple[int, int, bytes]] = []
    for node in ast.walk(tree):
        for keyword in node.keywords if isinstance(node, ast.ClassDef) else ():
            value = keyword.value
            if keyword.arg == "name" and isinstance(value, ast.Constant) and isinstance(value.value, str):
                names[value.value] = f"{value.value}{ending}"
                changes.append((*_span(code, value), repr(names[value.value]).encode()))
            elif keyword.arg == "aliases":
                changes.append((*_span(code, value), b"()"))
    if not names:
        raise TunemaxError(
            f'{word}: registers no part; a plug-in has a class with a name, as in (Variant, name="mine")'
        )
    for start, end, text in sorted(changes, reverse=True):
        code = code[:start] + text + code[end:]
    return code, names


def _span(code: bytes, node: ast.expr) -> tuple[int, int]:
    """Where an expression begins and ends, in bytes, as Python counts them."""
    lines = [0, *(place + 1 for place, byte in enumerate(code) if byte == ord("\n"))]
    end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
    return lines[node.lineno - 1] + node.col_offset, lines[end_line - 1] + end_column
