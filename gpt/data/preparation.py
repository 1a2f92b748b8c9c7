"""From a source to a folder of tokens: `prepare`.

The data folder holds ``<name>-<fingerprint>/`` with tokens.bin and manifest.json for every text that was ever prepared,
and in ``.stamps/`` one small file for every state of a source, with the name of the folder that it became. Both appear
whole and never change, so any number of processes may prepare at once: the first to finish is the one that stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from tunemax.gpt.data.corpus import Corpus, load
from tunemax.gpt.data.manifest import (
    DOCUMENTS,
    FORMAT,
    MANIFEST,
    PARTS,
    TOKENS,
    Documents,
    Manifest,
    Part,
    fingerprint,
    is_prepared,
    read_manifest,
)
from tunemax.gpt.data.pieces import of_characters
from tunemax.gpt.data.skipped import Skipped
from tunemax.gpt.data.sources import DATASETS, Source, find_source
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import partial_folder, write_through, write_whole
from tunemax.gpt.paths import caches, inside, path_typed
from tunemax.gpt.progress import advanced
from tunemax.gpt.text_config import Text, text_of
from tunemax.gpt.tokenizers import Tokenizer


def data_root() -> Path:
    """Where prepared data lies: as TUNEMAX_DATA says, else tunemax/data in XDG_CACHE_HOME, else in ~/.cache."""
    if named := os.environ.get("TUNEMAX_DATA"):
        return path_typed(named)
    return caches() / "data"


def open_data(text: Text | str, fingerprint: str | None = None) -> Corpus:
    """The tokens of a text, prepared first if they are not there; see `prepare`. Raises TunemaxError."""
    return load(prepare(text, fingerprint=fingerprint))


def prepare(text: Text | str, folder: Path | None = None, fingerprint: str | None = None) -> Path:
    """Make a text's tokens unless they are there, and return the folder that holds them.

    text: a training's configuration, or its dataset alone: a name in DATASETS, the path of a text, a table, a folder of
    them or a folder of prepared tokens, or the address of a text or a table.
    folder: where all prepared data lies; `data_root()` by default.
    fingerprint: of what a study or a run was made with: the rules of that version are then followed again. If none
    leads to it, the result is that of the newest, so the caller has to compare.
    A text that has changed since is prepared anew and gets a folder of its own. Raises TunemaxError, with nothing
    half-written.
    """
    text = text_of(text)
    dataset, given = text.dataset, path_typed(text.dataset)
    root = Path(folder) if folder else data_root()
    try:
        if dataset and dataset not in DATASETS and is_prepared(given):
            _check_prepared(text, given)
            return given
        source = find_source(text, root)
        newest = _made(source, root)
        if fingerprint is not None:
            for made in itertools.chain([newest], _by_older_rules(source, root)):  # one after the other, as needed
                if read_manifest(made).fingerprint == fingerprint:
                    return made
        return newest
    except OSError as error:
        raise TunemaxError(
            f"dataset = {dataset}: {error.filename or root}: {error.strerror or error}; check the path and its rights"
        ) from error


def skipped_of(text: Text | str, folder: Path | None = None) -> Skipped:
    """What of a text that is prepared was skipped. Nothing where nobody knows."""
    root = Path(folder) if folder else data_root()
    text = text_of(text)
    if text.dataset not in DATASETS and is_prepared(path_typed(text.dataset)):
        return Skipped()
    with contextlib.suppress(OSError, ValueError):
        return Skipped.from_json(_skipped(find_source(text, root), root).read_bytes())
    return Skipped()


def _check_prepared(text: Text, folder: Path) -> None:
    """Refuse other tokens than a folder has."""
    manifest = read_manifest(folder)
    there = {"tokenizer": manifest.tokenizer, "documents": "apart" if manifest.documents else "joined"}
    neutral = {name: Text.model_fields[name].default for name in there}
    if text.tokenizer == manifest.tokenizer == "bpe":
        there["vocab_size"] = str(manifest.vocab_size)
    for name, value in there.items():
        if str(asked := getattr(text, name)) not in (value, neutral.get(name)):
            raise TunemaxError(f"{name} = {asked}: {folder} has tokens that were prepared with {value}; leave it out")
    if text.column:
        raise TunemaxError(f"column = {text.column}: {folder} has tokens that are prepared already; leave it out")


def _by_older_rules(source: Source, root: Path) -> Iterator[Path]:
    """What older and older rules make of the source, but for those that find no text for a part of it."""
    while source.before:
        source = source.before
        with contextlib.suppress(TunemaxError):  # nothing was ever made by them
            yield _made(source, root)


def _made(source: Source, root: Path) -> Path:
    return _stamped(source, root) or _prepare(source, root)


def _stamped(source: Source, root: Path) -> Path | None:
    """The folder that the source in its present state was made into, if it still is there."""
    try:
        folder = inside(root, _stamp(source, root).read_text())
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError, TunemaxError):  # or nothing that we have written
        return None
    return folder if is_prepared(folder) else None


def _prepare(source: Source, root: Path) -> Path:
    with partial_folder(root) as partial:
        made = inside(partial, source.name)
        made.mkdir()
        manifest, skipped = _write_tokens(source, made)
        write_through(made / MANIFEST, manifest.to_json())
        folder = inside(root, f"{source.name}-{manifest.fingerprint[:12]}")
        try:
            os.rename(made, folder)
        except OSError:
            if not folder.is_dir():
                raise
            load(folder)  # the same text is there already, and a folder with files in it is never replaced
    write_whole(_skipped(source, root), skipped.to_json())
    write_whole(_stamp(source, root), folder.name.encode())
    return folder


def _write_tokens(source: Source, folder: Path) -> tuple[Manifest, Skipped]:
    kind = Tokenizer.find(source.tokenizer)
    split = source.read()
    split = of_characters(split) if kind.reads_text else split
    if not any(True for _ in split.parts["train"]):
        raise TunemaxError(_no_text(source, PARTS))
    tokenizer = kind.made(source.text, lambda: split.parts["train"], lambda: itertools.chain(*split.parts.values()))
    tokens: dict[Part, int] = dict.fromkeys(PARTS, 0)
    sizes: dict[Part, int] = dict.fromkeys(PARTS, 0)
    begins: dict[Part, array[int]] = {part: array("Q") for part in PARTS}
    with Digested(folder / TOKENS) as file:
        for part in PARTS:
            for ids, size in tokenizer.batches(filter(None, split.parts[part])):
                file.write(ids.astype("<u2").tobytes())
                begins[part].append(tokens[part])
                tokens[part] += len(ids)
                sizes[part] += size
                advanced(f"{source.name}: made into tokens", sum(sizes.values()), split.size)
    if empty := [part for part in PARTS if not tokens[part]]:
        raise TunemaxError(_no_text(source, empty))
    documents = _write_documents(begins, folder) if source.text.documents == "apart" else None
    manifest = Manifest(
        format=FORMAT,
        name=source.name,
        source=source.origin,
        tokenizer=tokenizer.kind,
        vocabulary=tokenizer.vocabulary,
        vocab_size=tokenizer.vocab_size,
        token_counts=tokens,
        byte_counts=sizes,
        sha256=file.sha256,
        fingerprint=fingerprint(tokenizer, tokens, file.sha256, documents),
        version=source.version,
        left_out=split.left_out,
        documents=documents,
    )
    return manifest, split.skipped


def _no_text(source: Source, parts: Sequence[Part]) -> str:
    return f"{source.origin}: no text for {', '.join(parts)}; give more text"


def _write_documents(begins: Mapping[Part, array[int]], folder: Path) -> Documents:
    with Digested(folder / DOCUMENTS) as file:
        for part in PARTS:
            file.write(np.frombuffer(begins[part], np.uint64).astype("<u8").tobytes())
    return Documents(counts={part: len(begins[part]) for part in PARTS}, sha256=file.sha256)


class Digested:
    """A file that is written, waited for, and known by its sha256 when that is done."""

    def __init__(self, path: Path) -> None:
        self._path, self._digest = path, hashlib.sha256()

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        return self

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)

    def __exit__(self, *_: object) -> None:
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _skipped(source: Source, root: Path) -> Path:
    stamp = _stamp(source, root)
    return inside(stamp.parent, f"{stamp.name}.skipped")


def _stamp(source: Source, root: Path) -> Path:
    """The name of a stamp is the hash of all that could change the tokens."""
    stamp = json.dumps([FORMAT, source.name, *source.stamp])
    return inside(root, ".stamps", hashlib.sha256(stamp.encode()).hexdigest()[:32])
