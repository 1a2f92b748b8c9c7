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
from collections.abc import Iterator
from pathlib import Path

from tunemax.gpt.data.corpus import Corpus, load
from tunemax.gpt.data.manifest import (
    FORMAT,
    MANIFEST,
    PARTS,
    TOKENS,
    Manifest,
    Part,
    Tokenizer,
    fingerprint,
    is_prepared,
    read_manifest,
)
from tunemax.gpt.data.sources import DATASETS, Source, find_source
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import partial_folder, write_through, write_whole
from tunemax.gpt.paths import caches, inside, path_typed


def data_root() -> Path:
    """Where prepared data lies: as TUNEMAX_DATA says, else tunemax/data in XDG_CACHE_HOME, else in ~/.cache."""
    if named := os.environ.get("TUNEMAX_DATA"):
        return path_typed(named)
    return caches() / "data"


def open_data(dataset: str, fingerprint: str | None = None) -> Corpus:
    """The tokens of a dataset, prepared first if they are not there; see `prepare`. Raises TunemaxError."""
    return load(prepare(dataset, fingerprint=fingerprint))


def prepare(dataset: str, folder: Path | None = None, fingerprint: str | None = None) -> Path:
    """Make a dataset's tokens unless they are there, and return the folder that holds them.

    dataset: a name in DATASETS, or the path of a text file, a folder of text files, or a folder of prepared tokens.
    folder: where all prepared data lies; `data_root()` by default.
    fingerprint: of what a study or a run was made with: the rules of that version are then followed again. If none
    leads to it, the result is that of the newest, so the caller has to compare.
    A text that has changed since is prepared anew and gets a folder of its own. Raises TunemaxError, with nothing
    half-written.
    """
    given = path_typed(dataset)
    root = Path(folder) if folder else data_root()
    try:
        if dataset and dataset not in DATASETS and is_prepared(given):
            return given
        source = find_source(dataset, root)
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
        manifest = _write_tokens(source, made / TOKENS)
        write_through(made / MANIFEST, manifest.to_json())
        folder = inside(root, f"{source.name}-{manifest.fingerprint[:12]}")
        try:
            os.rename(made, folder)
        except OSError:
            if not folder.is_dir():
                raise
            load(folder)  # the same text is there already, and a folder with files in it is never replaced
    write_whole(_stamp(source, root), folder.name.encode())
    return folder


def _write_tokens(source: Source, path: Path) -> Manifest:
    split = source.read()
    texts, tokenizer = split.parts, Tokenizer("byte")
    if source.tokenizer == "char":
        texts = {part: list(pieces) for part, pieces in texts.items()}
        characters = {character for pieces in texts.values() for piece in pieces for character in piece.decode()}
        tokenizer = Tokenizer("char", "".join(sorted(characters)))
    tokens: dict[Part, int] = dict.fromkeys(PARTS, 0)
    sizes: dict[Part, int] = dict.fromkeys(PARTS, 0)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in PARTS:
            for piece in texts[part]:
                ids = tokenizer.tokens(piece)
                data = ids.astype("<u2").tobytes()
                file.write(data)
                digest.update(data)
                tokens[part] += len(ids)
                sizes[part] += len(piece)
        file.flush()
        os.fsync(file.fileno())
    if empty := [part for part in PARTS if not tokens[part]]:
        raise TunemaxError(f"{source.origin}: no text for {', '.join(empty)}; give more text")
    return Manifest(
        format=FORMAT,
        name=source.name,
        source=source.origin,
        tokenizer=tokenizer.kind,
        vocabulary=tokenizer.vocabulary,
        vocab_size=tokenizer.vocab_size,
        token_counts=tokens,
        byte_counts=sizes,
        sha256=digest.hexdigest(),
        fingerprint=fingerprint(tokenizer, tokens, digest.hexdigest()),
        version=source.version,
        left_out=split.left_out,
    )


def _stamp(source: Source, root: Path) -> Path:
    """The name of a stamp is the hash of all that could change the tokens."""
    stamp = json.dumps([FORMAT, source.name, *source.stamp])
    return inside(root, ".stamps", hashlib.sha256(stamp.encode()).hexdigest()[:32])
