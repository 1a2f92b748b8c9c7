"""Where text comes from; how it is split into train, tuning, confirmation and test says `splits`.

A source says cheaply what it is (`stamp`) and reads itself only when its tokens are not there yet (`read`). A dataset
is one that is known by name (a function with `@dataset`), or the path of a text file, a folder of text files, or a
folder of prepared tokens.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib.request import urlopen

from tunemax.gpt.data.manifest import PARTS, is_prepared
from tunemax.gpt.data.splits import Keep, Split, by_file, by_path, by_position
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.files import write_whole
from tunemax.gpt.paths import path_typed

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_FILE = "tinyshakespeare.txt"
HIDDEN = re.compile(r"\..*")


@dataclass(frozen=True)
class Source:
    """A text that can be prepared.

    name: begins the name of its folder. origin: what the manifest says of it. stamp: changes when the text may have
    changed, and costs little to find. read: the text of each part in pieces; the char tokenizer needs whole characters
    in each. version: of the rules by which it is split, 1 for the first ones. before: the same text by the rules of the
    version before, for the studies that were made with them.
    """

    name: str
    origin: str
    tokenizer: Literal["byte", "char"]
    stamp: tuple[object, ...]
    read: Callable[[], Split]
    version: int = 1
    before: Source | None = None


Named = Callable[[Path], Source]
"""A dataset that is known by name, from the folder where a download may lie."""

DATASETS: dict[str, Named] = {}


def dataset(named: Named) -> Named:
    """Make a function's name the name of a dataset."""
    DATASETS[named.__name__] = named
    return named


def find_source(name: str, root: Path) -> Source:
    """The source of a dataset's name or path; `root` is the folder where a download may lie. Raises TunemaxError."""
    if name in DATASETS:
        return DATASETS[name](root)
    path = path_typed(name)
    if name and path.is_file():
        return text_file(path.resolve())
    if name and path.is_dir():
        return text_folder(path.resolve())
    raise TunemaxError(f"dataset = {name}: neither a known dataset nor a file or folder{did_you_mean(name, DATASETS)}")


# --- the standard library of the interpreter that runs

# What is no library code, or not the same on every machine with this version of Python.
_NOT_LIBRARY = re.compile(r"\..*|site-packages|dist-packages|tests?|idle_test|config-.*")
_NOT_WRITTEN = re.compile(
    r"_sysconfigdata.*|_sysconfig_vars.*|sitecustomize\.py|usercustomize\.py|pydoc_data/topics\.py"
)
_GENERATED = re.compile(
    rb"auto-?generated|automatically generated|file is generated|generated from|generated on|gencodec", re.IGNORECASE
)
_HEADER = 400  # bytes in which a generated file says so; further down the words mean other things


@dataset
def python_stdlib(root: Path) -> Source:
    """The running interpreter's own standard library, without tests and generated files; split by file."""
    folder = Path(sysconfig.get_path("stdlib"))
    return _by_file(
        name="python_stdlib",
        origin=f"standard library of {sys.implementation.name} {sys.version.split()[0]}",
        stamp=("python_stdlib", sys.version, str(folder)),
        folder=folder,
        files=lambda: _library_files(folder),
        keep=lambda text: not _GENERATED.search(text[:_HEADER]),
    )


@dataset
def python_docstrings(root: Path) -> Source:
    """The docstrings of the same files: English about code, where python_stdlib is code."""
    folder = Path(sysconfig.get_path("stdlib"))
    return Source(
        name="python_docstrings",
        origin=f"docstrings of the standard library of {sys.implementation.name} {sys.version.split()[0]}",
        tokenizer="byte",
        stamp=("python_docstrings", sys.version, str(folder)),
        read=lambda: by_file(
            folder, _library_files(folder), lambda text: not _GENERATED.search(text[:_HEADER]), _docstrings
        ),
    )


def _docstrings(file: bytes) -> bytes:
    """Those of a Python file, in its order; none of one that is not Python."""
    try:
        nodes = ast.walk(ast.parse(file))
    except (SyntaxError, ValueError):
        return b""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) for node in nodes if isinstance(node, documented)]
    return "\n\n".join(text for text in found if text).encode()


def _library_files(folder: Path) -> list[str]:
    return [name for name in _files(folder, _NOT_LIBRARY) if name.endswith(".py") and not _NOT_WRITTEN.fullmatch(name)]


# --- Shakespeare, as the field has it


@dataset
def shakespeare_char(root: Path) -> Source:
    """Tiny Shakespeare by characters: the first 90 % to train on, three equal slices of what is left."""
    return Source(
        name="shakespeare_char",
        origin=SHAKESPEARE_URL,
        tokenizer="char",
        stamp=("shakespeare_char", SHAKESPEARE_SHA256),
        read=lambda: _shakespeare_parts(_shakespeare(root).decode()),
    )


def _shakespeare_parts(text: str) -> Split:
    first = len(text) * 9 // 10
    third = (len(text) - first) // 3
    starts = [0, first, first + third, first + 2 * third, len(text)]
    return Split({part: [text[starts[i] : starts[i + 1]].encode()] for i, part in enumerate(PARTS)})


def _shakespeare(root: Path) -> bytes:
    """The verified text: the user's copy, the one in the data folder, or a download that is then kept there."""
    kept = root / SHAKESPEARE_FILE
    own = os.environ.get("TUNEMAX_SHAKESPEARE")
    if own or kept.is_file():
        path = path_typed(own) if own else kept
        if not path.is_file():
            raise TunemaxError(f"TUNEMAX_SHAKESPEARE = {own}: no such file; expected a copy of {SHAKESPEARE_URL}")
        return _verified(
            path.read_bytes(), f"{path}", "get it again, or give this path as the dataset if you mean this text"
        )
    try:
        with urlopen(SHAKESPEARE_URL, timeout=30) as answer:
            data: bytes = answer.read()
    except (OSError, ValueError, HTTPException) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise TunemaxError(
            f"shakespeare_char: no download from {SHAKESPEARE_URL} ({reason}); put that file at {kept}"
        ) from error
    write_whole(kept, _verified(data, SHAKESPEARE_URL, f"put the right file at {kept}"))
    return data


def _verified(data: bytes, where: str, remedy: str) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != SHAKESPEARE_SHA256:
        raise TunemaxError(
            f"{where}: not the text of shakespeare_char (sha256 {found[:12]}…, expected {SHAKESPEARE_SHA256[:12]}…); "
            f"{remedy}"
        )
    return data


# --- anybody's own text


def text_file(path: Path) -> Source:
    """One text file by bytes, split by position: the first 85 % to train on, then three slices of 5 %."""
    state = path.stat()
    return Source(
        name=_slug(path.stem),
        origin=_shown(path),
        tokenizer="byte",
        stamp=("file", str(path), state.st_size, state.st_mtime_ns),
        read=lambda: _text(path),
    )


def text_folder(folder: Path) -> Source:
    """The text files of a folder and those in it, by bytes, split by file, without hidden and binary ones.

    Folders that are linked into it belong to it since version 3.
    """
    names = _files(folder, HIDDEN)
    source = _folder_of(folder, names)
    if linked := _linked_files(folder, HIDDEN):
        with_linked = _folder_of(folder, sorted([*names, *linked]))
        return replace(with_linked, version=3, before=source)
    return source


def _folder_of(folder: Path, names: list[str]) -> Source:
    states = [(name, (folder / name).stat()) for name in names]
    return _by_file(
        name=_slug(folder.name),
        origin=_shown(folder),
        stamp=("folder", str(folder), *((name, state.st_size, state.st_mtime_ns) for name, state in states)),
        folder=folder,
        files=lambda: names,
        keep=lambda text: not _is_binary(text),
    )


def _text(path: Path) -> Split:
    with path.open("rb") as file:
        if _is_binary(file.read(1 << 24)):
            raise TunemaxError(f"{path}: looks like a binary file; expected text, best in UTF-8")
    return by_position(path)


def _by_file(
    name: str, origin: str, stamp: tuple[object, ...], folder: Path, files: Callable[[], list[str]], keep: Keep
) -> Source:
    """A folder's files as they are split now, and behind it as version 1 of the data had them."""
    first = Source(name, origin, "byte", stamp, lambda: by_path(folder, files(), keep))
    return Source(
        name, origin, "byte", (*stamp, "version 2"), lambda: by_file(folder, files(), keep), version=2, before=first
    )


def _files(folder: Path, leave_out: re.Pattern[str]) -> list[str]:
    """Paths in a folder, sorted: none hidden, none in folders named like `leave_out` or holding prepared tokens."""
    found = [path for _, _, paths in _places(folder, leave_out) for path in paths]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _linked_files(folder: Path, leave_out: re.Pattern[str]) -> list[str]:
    """Paths of files in folders that are linked into a folder, and into those; each place is visited once.

    A link to the folder itself, or to one that it lies in, leads nowhere new.
    """
    visited, links = set[tuple[int, int]](), list[Path]()
    for place, linked, _ in _places(folder, leave_out):
        visited.add(_place(place))
        links += linked
    above = {_place(parent) for parent in folder.parents}
    found = []
    while links:
        link = links.pop(0)
        if _place(link) in above:
            continue
        for place, linked, paths in _places(link, leave_out):
            if _place(place) not in visited:
                visited.add(_place(place))
                links += linked
                found += paths
    return [path.relative_to(folder).as_posix() for path in found]


def _place(folder: Path) -> tuple[int, int]:
    """What tells a folder apart, whatever links lead to it."""
    state = folder.stat()
    return state.st_dev, state.st_ino


def _places(folder: Path, leave_out: re.Pattern[str]) -> Iterator[tuple[Path, list[Path], list[Path]]]:
    """Each folder in a folder, itself first: its path, links in it to other folders, and its files; by name."""

    def refuse(error: OSError) -> None:
        raise error  # else a folder that cannot be read would be missing from the text without a word

    for place, folders, names in os.walk(folder, onerror=refuse):
        kept = [name for name in folders if not leave_out.fullmatch(name) and not is_prepared(Path(place, name))]
        folders[:] = sorted(kept)
        links = [path for name in folders if (path := Path(place, name)).is_symlink()]
        paths = [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        yield Path(place), links, [path for path in paths if path.is_file()]


_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\b\x1b"))


def _is_binary(data: bytes) -> bool:
    """Text has no zero bytes and next to no control characters; in compressed data every tenth byte is one."""
    return b"\0" in data or 100 * (len(data) - len(data.translate(None, _CONTROLS))) > len(data)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_") or "text"


def _shown(path: Path) -> str:
    """A path as text for the manifest, even if its bytes are no UTF-8."""
    return os.fsencode(path).decode("utf-8", errors="replace")
