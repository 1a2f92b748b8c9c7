"""A file of a public address: fetched once, kept in the data folder, and held to the checksum of its first download.

What has come of it stays when the download breaks off, and the next one goes on from there if the server can.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import write_whole
from tunemax.gpt.locks import locked
from tunemax.gpt.paths import inside, path_typed
from tunemax.gpt.progress import advanced

SILENCE = 30  # seconds without a byte until a server counts as gone
TRIES = 5  # connections for one file, as long as each brings something
_PIECE = 1 << 18
_HIDDEN = ".downloads"


@dataclass(frozen=True)
class Download:
    """A public file.

    name: of the dataset. file: where it is kept, in the data folder. variable: of the environment, which may name a
    copy of the user's own. sha256: where it is known; else that of the first download is.
    """

    name: str
    url: str
    file: str
    variable: str = ""
    sha256: str | None = None

    def state(self, root: Path) -> tuple[object, ...]:
        """What changes when the text may have; it is fetched if nothing is known of it yet."""
        if copy := self._copy():
            there = copy.stat()
            return str(copy), there.st_size, there.st_mtime_ns
        sha256 = self._expected(root)
        if sha256 is None:
            self.path(root)
            sha256 = self._expected(root)
        return self.url, sha256

    def path(self, root: Path) -> Path:
        """The file, verified: the user's copy, the one that is kept, or a download that is kept from now on.

        Raises TunemaxError where there is none, or another one than before.
        """
        kept, remedy = inside(root, self.file), "get it again, or give this path as the dataset if you mean this text"
        if copy := self._copy():
            return self._verified(copy, root, str(copy), remedy)
        if kept.is_file():
            return self._verified(kept, root, str(kept), "remove it, and it is fetched again")
        hidden = inside(root, _HIDDEN)
        hidden.mkdir(parents=True, exist_ok=True)
        with locked(inside(hidden, f"{self._key}.lock")):
            if not kept.is_file():  # somebody else may have fetched it meanwhile
                partial = self._fetched(hidden, kept)
                try:
                    self._verified(partial, root, self.url, f"put the right file at {kept}")
                except TunemaxError:
                    partial.unlink()
                    raise
                kept.parent.mkdir(parents=True, exist_ok=True)
                os.replace(partial, kept)
        return kept

    @property
    def _key(self) -> str:
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def _copy(self) -> Path | None:
        named = os.environ.get(self.variable) if self.variable else None
        if not named:
            return None
        path = path_typed(named)
        if not path.is_file():
            raise TunemaxError(f"{self.variable} = {named}: no such file; expected a copy of {self.url}")
        return path

    def _record(self, root: Path) -> Path:
        return inside(root, _HIDDEN, f"{self._key}.json")

    def _expected(self, root: Path) -> str | None:
        if self.sha256:
            return self.sha256
        record = self._record(root)
        try:
            return str(json.loads(record.read_bytes())["sha256"])
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, TypeError) as error:
            raise TunemaxError(f"{record}: damaged; remove it, and {self.name} is known anew") from error

    def _verified(self, path: Path, root: Path, where: str, remedy: str) -> Path:
        """Raises TunemaxError for another file than the one that is expected; of the first one all is noted."""
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        expected = self._expected(root)
        if expected is None:
            record = {"url": self.url, "sha256": found, "bytes": path.stat().st_size}
            write_whole(self._record(root), json.dumps(record, indent=1).encode() + b"\n")
        elif found != expected:
            differ = f"sha256 {found[:12]}…, expected {expected[:12]}…"
            if self.sha256:
                raise TunemaxError(f"{where}: not the text of {self.name} ({differ}); {remedy}")
            take = f"{remedy}, or remove {self._record(root)} to take this one"
            raise TunemaxError(f"{where}: has changed since the first download ({differ}); {take}")
        return path

    def _fetched(self, hidden: Path, kept: Path) -> Path:
        """A file with all that the server has. Raises TunemaxError."""
        partial = inside(hidden, f"{self._key}.partial")
        for _ in range(TRIES):
            before = partial.stat().st_size if partial.is_file() else 0
            try:
                whole = self._goes_on(partial)
            except (OSError, ValueError, HTTPException) as error:
                whole, reason = -1, _reason(error)
                if isinstance(error, HTTPError):
                    if error.code == 416 and before:  # nothing stands behind what has come: no part of this file
                        partial.unlink()
                        continue
                    break
            else:
                reason = f"it broke off after {partial.stat().st_size:,} of {whole:,} bytes"
            now = partial.stat().st_size if partial.is_file() else 0
            if now == whole:
                return partial
            if now <= before:
                break
        again = "; what has come is kept, and the next try goes on from there" if partial.is_file() else ""
        raise TunemaxError(f"{self.name}: no download from {self.url} ({reason}); put that file at {kept}{again}")

    def _goes_on(self, partial: Path) -> int:
        """Take what the server gives, from where the partial file ends if it still is the same. Returns how many bytes
        there are in all."""
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError("expected an address that begins with https:// or http://")
        there, known = partial.stat().st_size if partial.is_file() else 0, partial.with_suffix(".validator")
        headers = {"User-Agent": "tunemax", "Accept-Encoding": "identity"}
        if there and known.is_file():
            headers |= {"Range": f"bytes={there}-", "If-Range": known.read_text()}
        with urlopen(Request(self.url, headers=headers), timeout=SILENCE) as answer:
            there = there if answer.status == 206 else 0
            whole = _whole(answer, there)
            if not there:
                validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
                known.unlink(missing_ok=True)
                if validator and not validator.startswith("W/"):
                    known.write_text(validator)
            with partial.open("ab" if there else "wb") as file:
                while piece := answer.read1(_PIECE):
                    file.write(piece)
                    there += len(piece)
                    advanced(f"{self.name}: downloaded", there, whole)
                file.flush()
                os.fsync(file.fileno())
        return there if whole is None else whole


def _whole(answer: HTTPResponse | Any, there: int) -> int | None:
    """How many bytes the file has, if the server says so."""
    length = answer.headers.get("Content-Length")
    return there + int(length) if length and length.isdecimal() else None


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return f"no byte for {SILENCE} seconds"
    return str(getattr(error, "reason", error)) or type(error).__name__


def is_address(name: str) -> bool:
    """Whether a dataset is named by a public address."""
    return name.startswith(("https://", "http://"))
