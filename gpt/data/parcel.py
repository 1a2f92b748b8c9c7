"""Prepared tokens as one piece of bytes, which another machine unpacks; known by their fingerprint."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from tunemax.gpt.data.corpus import Corpus, load
from tunemax.gpt.data.manifest import DOCUMENTS, MANIFEST, TOKENS, is_prepared, read_manifest
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import partial_folder, write_through
from tunemax.gpt.paths import inside

FILES = (MANIFEST, TOKENS, DOCUMENTS)
LARGEST = 8 << 30
"""Bytes of a file that is unpacked, at most: a parcel may come from anybody."""

UNREADABLE = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError)
"""What zipfile raises for bytes that are damaged, no zip file, or packed in a way that it does not know."""


def pack(corpus: Corpus) -> bytes:
    """A zip file of a folder of prepared tokens."""
    parcel = io.BytesIO()
    with zipfile.ZipFile(parcel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name in FILES:
            if (corpus.folder / name).is_file():
                file.write(corpus.folder / name, name)
    return parcel.getvalue()


def unpack(parcel: bytes, fingerprint: str, root: Path) -> Path:
    """Unpack it into a folder of `root`, whole or not at all, and return that.

    Raises TunemaxError for what is no such parcel, is damaged, or has another fingerprint.
    """
    with partial_folder(root) as partial:
        made = partial / "unpacked"
        made.mkdir()
        try:
            with zipfile.ZipFile(io.BytesIO(parcel)) as file:
                for name in sorted(set(FILES) & set(file.namelist())):
                    if file.getinfo(name).file_size > LARGEST:
                        raise TunemaxError(f"{name}: of more than {LARGEST / 1e9:.0f} GB; copy its folder instead")
                    write_through(made / name, file.read(name))
        except UNREADABLE as error:
            raise TunemaxError(f"no parcel of prepared tokens, or a damaged one ({error})") from error
        manifest = load(made).manifest
        if manifest.fingerprint != fingerprint:
            raise TunemaxError(f"has fingerprint {manifest.fingerprint[:12]}, expected {fingerprint[:12]}")
        folder = inside(root, f"{manifest.name}-{fingerprint[:12]}")
        try:
            os.rename(made, folder)
        except OSError:
            if not folder.is_dir():
                raise
            load(folder)  # it is there already, and a folder with files in it is never replaced
    return folder


def prepared_as(fingerprint: str, roots: Iterable[Path]) -> Path | None:
    """The first folder of prepared tokens with a fingerprint in some folders of them; None if there is none."""
    for root in roots:
        for folder in sorted(root.glob(f"*-{fingerprint[:12]}")) if root.is_dir() else ():
            if is_prepared(folder) and read_manifest(folder).fingerprint == fingerprint:
                return folder
    return None
