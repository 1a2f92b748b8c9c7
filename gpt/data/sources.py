"""Where text comes from, and how it is split into train, tuning, confirmation and test.

A source says cheaply what it is (`stamp`) and reads itself only when its tokens are not there yet (`read`). A dataset
is one that is known by name (a function with `@dataset`), or the path of a text file, a folder of text files, or a
folder of prepared tokens.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib.request import urlopen

from tunemax.gpt.data.manifest import PARTS, Part, is_prepared
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.files import write_whole

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_FILE = "tinyshakespeare.txt"
SHARES: dict[Part, float] = {"train": 0.85, "tuning": 0.05, "confirmation": 0.05, "test": 0.05}

Texts = Mapping[Part, Iterable[bytes]]


@dataclass(frozen=True)
class Source:
    """A text that can be prepared.

    name: begins the name of its folder. origin: what the manifest says of it. stamp: changes when the text may have
    changed, and costs little to find. read: the text of each part in pieces; the char tokenizer needs whole characters
    in each.
    """

    name: str
    origin: str
    tokenizer: Literal["byte", "char"]
    stamp: tuple[object, ...]
    read: Callable[[], Texts]


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
    path = Path(os.path.expanduser(name))
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
    """The running interpreter's own standard library, without tests and generated files; split by hash of the path."""
    folder = Path(sysconfig.get_path("stdlib"))
    return Source(
        name="python_stdlib",
        origin=f"standard library of {sys.implementation.name} {sys.version.split()[0]}",
        tokenizer="byte",
        stamp=("python_stdlib", sys.version, str(folder)),
        read=lambda: _split_by_path(
            folder, _library_files(folder), keep=lambda data: not _GENERATED.search(data[:_HEADER])
        ),
    )


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


def _shakespeare_parts(text: str) -> Texts:
    first = len(text) * 9 // 10
    third = (len(text) - first) // 3
    starts = [0, first, first + third, first + 2 * third, len(text)]
    return {part: [text[starts[i] : starts[i + 1]].encode()] for i, part in enumerate(PARTS)}


def _shakespeare(root: Path) -> bytes:
    """The verified text: the user's copy, the one in the data folder, or a download that is then kept there."""
    kept = root / SHAKESPEARE_FILE
    own = os.environ.get("TUNEMAX_SHAKESPEARE")
    if own or kept.is_file():
        path = Path(own).expanduser() if own else kept
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
        read=lambda: _split_by_position(path),
    )


def text_folder(folder: Path) -> Source:
    """The text files of a folder and those in it, by bytes, split by hash of the path, without hidden and binary."""
    names = _files(folder, re.compile(r"\..*"))
    states = [(name, (folder / name).stat()) for name in names]
    return Source(
        name=_slug(folder.name),
        origin=_shown(folder),
        tokenizer="byte",
        stamp=("folder", str(folder), *((name, state.st_size, state.st_mtime_ns) for name, state in states)),
        read=lambda: _split_by_path(folder, names, keep=lambda data: not _is_binary(data)),
    )


def _split_by_position(path: Path, piece: int = 1 << 24) -> Texts:
    size = path.stat().st_size
    slice = max(1, round(size * SHARES["test"])) if size else 0
    starts = [0, *(max(0, size - slices * slice) for slices in (3, 2, 1)), size]

    def read(start: int, end: int) -> Iterator[bytes]:
        with path.open("rb") as file:
            file.seek(start)
            for place in range(start, end, piece):
                yield file.read(min(piece, end - place))

    with path.open("rb") as file:
        if _is_binary(file.read(piece)):
            raise TunemaxError(f"{path}: looks like a binary file; expected text, best in UTF-8")
    return {part: read(starts[i], starts[i + 1]) for i, part in enumerate(PARTS)}


def _split_by_path(folder: Path, names: list[str], keep: Callable[[bytes], bool]) -> Texts:
    """Each file belongs to one part, whatever other files there are: the hash of its path in the folder decides."""

    def read(part: Part) -> Iterator[bytes]:
        for name in names:
            if part_of(name) == part and keep(data := (folder / name).read_bytes()) and data:
                yield data if data.endswith(b"\n") else data + b"\n"

    return {part: read(part) for part in PARTS}


def part_of(name: str) -> Part:
    """The part of a file by its path in its folder, with `/` between folders."""
    place = int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big") / 2**64
    for part, share in SHARES.items():
        if place < share:
            return part
        place -= share
    return "test"


def _files(folder: Path, leave_out: re.Pattern[str]) -> list[str]:
    """Paths in a folder, sorted: none hidden, none in folders named like `leave_out` or holding prepared tokens."""

    def refuse(error: OSError) -> None:
        raise error  # else a folder that cannot be read would be missing from the text without a word

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not leave_out.fullmatch(name) and not is_prepared(Path(place, name))]
        paths = [Path(place, name) for name in names if not name.startswith(".")]
        found += [path.relative_to(folder).as_posix() for path in paths if path.is_file()]
    return sorted(found)


_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\b\x1b"))


def _is_binary(data: bytes) -> bool:
    """Text has no zero bytes and next to no control characters; in compressed data every tenth byte is one."""
    return b"\0" in data or 100 * (len(data) - len(data.translate(None, _CONTROLS))) > len(data)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_") or "text"


def _shown(path: Path) -> str:
    """A path as text for the manifest, even if its bytes are no UTF-8."""
    return os.fsencode(path).decode("utf-8", errors="replace")
