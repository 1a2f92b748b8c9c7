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
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from tunemax.gpt.data.documents import Separated, Table, articles
from tunemax.gpt.data.download import Download, is_address
from tunemax.gpt.data.manifest import PARTS, is_prepared
from tunemax.gpt.data.pieces import is_text
from tunemax.gpt.data.skipped import Skipped
from tunemax.gpt.data.splits import Fault, Split, by_document, by_file, by_path, by_position
from tunemax.gpt.data.tables import LINES, PARQUET, bare, is_table, unpacked
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.paths import path_typed
from tunemax.gpt.text_config import Text, text_of
from tunemax.gpt.tokenizers import AUTO

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_FILE = "tinyshakespeare.txt"
TINYSTORIES_URL = "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-train.txt"
WIKITEXT_URL = "https://wikitext.smerity.com/wikitext-103-raw-v1.zip"
HIDDEN = re.compile(r"\..*")


@dataclass(frozen=True)
class Source:
    """A text that can be prepared.

    name: begins the name of its folder. origin: what the manifest says of it. stamp: changes when the text may have
    changed, and costs little to find. read: the text of each part in pieces. version: of the rules by which it is
    split, 1 for the first ones. before: the same text by the rules of the version before, for the studies that were
    made with them. text: what is asked of its tokens.
    """

    name: str
    origin: str
    tokenizer: str
    stamp: tuple[object, ...]
    read: Callable[[], Split]
    version: int = 1
    before: Source | None = None
    text: Text = field(default_factory=Text)


Named = Callable[[Path], Source]
"""A dataset that is known by name, from the folder where a download may lie."""

DATASETS: dict[str, Named] = {}


def dataset(named: Named) -> Named:
    """Make a function's name the name of a dataset."""
    DATASETS[named.__name__] = named
    return named


def find_source(given: Text | str, root: Path) -> Source:
    """The source of a text; `root` is the folder where a download may lie. Raises TunemaxError."""
    text = text_of(given)
    source = _found(text, root)
    kind = source.tokenizer if text.tokenizer == AUTO else text.tokenizer
    asked: dict[str, object] = {"tokenizer": kind} if kind != source.tokenizer else {}
    asked |= {name: getattr(text, name) for name in _OF_TOKENIZERS.get(kind, ())}
    if text.documents == "apart":
        asked["documents"] = "apart"
    if text.column:
        asked["column"] = text.column
    if not asked:
        return source
    return replace(source, tokenizer=kind, text=text, stamp=(*source.stamp, sorted(asked.items())), before=None)


def _found(text: Text, root: Path) -> Source:
    name = text.dataset
    if name in DATASETS:
        if text.column:
            raise TunemaxError(f"column = {text.column}: {name} is no table; leave it out")
        return DATASETS[name](root)
    if is_address(name):
        file = Path(urlsplit(name).path)
        key = hashlib.sha256(name.encode()).hexdigest()[:8]
        download = Download(name, name, f"downloads/{key}-{_slug(bare(file).stem)}{''.join(file.suffixes[-2:])}")
        read = _reader(file, text)
        return replace(_downloaded(download, root, read), name=_slug(bare(file).stem))
    path = path_typed(name)
    if name and path.is_file():
        return text_file(path.resolve(), text)
    if name and path.is_dir():
        return text_folder(path.resolve(), text)
    raise TunemaxError(f"dataset = {name}: neither a known dataset nor a file or folder{did_you_mean(name, DATASETS)}")


_OF_TOKENIZERS = {"bpe": ("vocab_size",), "tiktoken": ("encoding",)}
"""Fields of a text that change its tokens with a tokenizer."""


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
        fault=_generated,
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
        read=lambda: by_file(folder, _library_files(folder), _generated, _docstrings),
    )


def _generated(file: bytes) -> str:
    return "generated" if _GENERATED.search(file[:_HEADER]) else ""


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
    known = "TUNEMAX_SHAKESPEARE", SHAKESPEARE_SHA256
    download = Download("shakespeare_char", SHAKESPEARE_URL, SHAKESPEARE_FILE, *known)
    return Source(
        name="shakespeare_char",
        origin=SHAKESPEARE_URL,
        tokenizer="char",
        stamp=("shakespeare_char", SHAKESPEARE_SHA256),
        read=lambda: _shakespeare_parts(download.path(root).read_bytes().decode()),
    )


def _shakespeare_parts(text: str) -> Split:
    first = len(text) * 9 // 10
    third = (len(text) - first) // 3
    starts = [0, first, first + third, first + 2 * third, len(text)]
    return Split({part: [text[starts[i] : starts[i + 1]].encode()] for i, part in enumerate(PARTS)})


# --- stories and articles


@dataset
def tinystories(root: Path) -> Source:
    """TinyStories (Eldan and Li, arXiv 2305.07759), the second version, by GPT-4: a story is a document."""
    file = "downloads/TinyStoriesV2-GPT4-train.txt"
    download = Download("tinystories", TINYSTORIES_URL, file, "TUNEMAX_TINYSTORIES")
    return _downloaded(download, root, lambda path, skipped: by_document(Separated(path, skipped), skipped))


@dataset
def wikitext103(root: Path) -> Source:
    """WikiText-103 (Merity et al., arXiv 1609.07843), raw: an article is a document. Test text is its own; the two
    halves of its validation text are for tuning and confirmation."""
    download = Download("wikitext103", WIKITEXT_URL, "downloads/wikitext-103-raw-v1.zip", "TUNEMAX_WIKITEXT103")
    return _downloaded(download, root, lambda path, skipped: articles(path, skipped))


def _downloaded(download: Download, root: Path, read: Callable[[Path, Skipped], Split]) -> Source:
    return Source(
        name=_slug(download.name),
        origin=download.url,
        tokenizer="byte",
        stamp=("download", *download.state(root)),
        read=lambda: read(download.path(root), Skipped()),
    )


# --- anybody's own text


def text_file(path: Path, text: Text | None = None) -> Source:
    """One text file by bytes, split by position: the first 85 % to train on, then three slices of 5 %. A table, or one
    whose documents are kept apart, is split by document."""
    state = path.stat()
    read = _reader(path, text or Text())
    return Source(
        name=_slug(bare(path).stem),
        origin=_shown(path),
        tokenizer="byte",
        stamp=("file", str(path), state.st_size, state.st_mtime_ns),
        read=lambda: read(path, Skipped()),
    )


def _reader(path: Path, text: Text) -> Callable[[Path, Skipped], Split]:
    """How a file is read that is called like this."""
    if text.column or path.suffix == PARQUET:
        if not is_table(path):
            kinds = ", ".join((*LINES, PARQUET))
            raise TunemaxError(f"column = {text.column}: {path.name} is no table, which end in {kinds}; leave it out")
        return lambda file, skipped: by_document(Table([(file, path.name)], text.column, skipped), skipped)
    if text.documents == "apart":
        return lambda file, skipped: by_document(Separated(file, skipped), skipped)
    return lambda file, _: _text(file)


def text_folder(folder: Path, text: Text | None = None) -> Source:
    """The text files of a folder and those in it, by bytes, split by file, without hidden and binary ones. With a
    column, the tables in it.

    Folders that are linked into it belong to it since version 3.
    """
    names = _files(folder, HIDDEN)
    if text and text.column:
        return _folder_of_tables(folder, names, text.column)
    fault = _binary_or_no_text if text and text.reads_text else _binary
    source = _folder_of(folder, names, fault)
    if linked := _linked_files(folder, HIDDEN):
        with_linked = _folder_of(folder, sorted([*names, *linked]), fault)
        return replace(with_linked, version=3, before=source)
    return source


def _folder_of(folder: Path, names: list[str], fault: Fault) -> Source:
    return _by_file(
        name=_slug(folder.name),
        origin=_shown(folder),
        stamp=_state(folder, names),
        folder=folder,
        files=lambda: names,
        fault=fault,
        passed_over=lambda: _passed_over(folder),
    )


def _folder_of_tables(folder: Path, names: list[str], column: str) -> Source:
    tables = [name for name in names if is_table(Path(name))]

    def read() -> Split:
        skipped = _passed_over(folder)
        for name in sorted(set(names) - set(tables)):
            skipped.add("no table", name)
        if not tables:
            raise TunemaxError(f"column = {column}: no table in {folder}; they end in {', '.join((*LINES, PARQUET))}")
        return by_document(Table([(folder / name, name) for name in tables], column, skipped), skipped)

    return Source(_slug(folder.name), _shown(folder), "byte", _state(folder, tables), read)


def _state(folder: Path, names: list[str]) -> tuple[object, ...]:
    states = [(name, (folder / name).stat()) for name in names]
    return "folder", str(folder), *((name, state.st_size, state.st_mtime_ns) for name, state in states)


def _text(path: Path) -> Split:
    with unpacked(path) as file:
        if _is_binary(file.read(1 << 24)):
            raise TunemaxError(f"{path}: looks like a binary file; expected text, best in UTF-8")
    return by_position(path)


def _by_file(
    name: str,
    origin: str,
    stamp: tuple[object, ...],
    folder: Path,
    files: Callable[[], list[str]],
    fault: Fault,
    passed_over: Callable[[], Skipped] = Skipped,
) -> Source:
    """A folder's files as they are split now, and behind it as version 1 of the data had them."""
    first = Source(name, origin, "byte", stamp, lambda: by_path(folder, files(), fault))

    def read() -> Split:
        return by_file(folder, files(), fault, skipped=passed_over())

    return Source(name, origin, "byte", (*stamp, "version 2"), read, version=2, before=first)


def _passed_over(folder: Path) -> Skipped:
    """What of a folder is not even looked at."""
    skipped = Skipped()
    for place, folders, names in os.walk(folder):
        for name in sorted([*folders, *names]):
            path = Path(place, name)
            shown = path.relative_to(folder).as_posix()
            if name.startswith("."):
                skipped.add("hidden", shown)
            elif name in folders:
                if is_prepared(path):
                    skipped.add("prepared", shown)
            elif not path.is_file():
                skipped.add("not a file", shown)
        folders[:] = [name for name in folders if not HIDDEN.fullmatch(name) and not is_prepared(Path(place, name))]
    return skipped


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


def _binary(data: bytes) -> str:
    return "binary" if _is_binary(data) else ""


def _binary_or_no_text(data: bytes) -> str:
    return _binary(data) or ("" if is_text(data) else "not UTF-8")


def _is_binary(data: bytes) -> bool:
    """Text has no zero bytes and next to no control characters; in compressed data every tenth byte is one."""
    return b"\0" in data or 100 * (len(data) - len(data.translate(None, _CONTROLS))) > len(data)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_") or "text"


def _shown(path: Path) -> str:
    """A path as text for the manifest, even if its bytes are no UTF-8."""
    return os.fsencode(path).decode("utf-8", errors="replace")
