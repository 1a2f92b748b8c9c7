"""What lies beside the tokens and says what they are: the manifest, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pydantic

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import explain
from tunemax.gpt.tokenizers import Tokenizer
from tunemax.gpt.tokenizers.base import Absent

FORMAT = 1
MANIFEST, TOKENS, DOCUMENTS = "manifest.json", "tokens.bin", "documents.bin"
AGAIN = "delete the folder and prepare the data again"  # what to do about a folder that cannot be used
Part = Literal["train", "tuning", "confirmation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)  # in the order in which they lie in tokens.bin
SLICES: tuple[Part, ...] = PARTS[1:]
Count = Annotated[int, pydantic.Field(gt=0)]


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)


class LeftOut(Strict):
    """What a folder's text lost before it was split, because it stood in another of its files.

    files: left out whole, since more than half was repeated. passages: cut out of other files. bytes: of all that.
    of_bytes: of the text before.
    """

    files: int
    passages: int
    bytes: int
    of_bytes: Count

    def __str__(self) -> str:
        return (
            f"{self.files:,} files that mostly repeat others and {self.passages:,} passages that stand in another "
            f"file, {self.bytes:,} bytes ({100 * self.bytes / self.of_bytes:.1f} %)"
        )


class Documents(Strict):
    """Where documents begin, as documents.bin has it: uint64, among the tokens of each part. sha256: of that file."""

    counts: dict[Part, Count]
    sha256: str


class Manifest(Strict):
    """What tokens.bin holds. The counts are of each part, `sha256` is of the whole file of tokens.

    version: of the rules by which the text was cleaned and split, see `sources`; not of this file's format. left_out:
    None where these rules leave nothing out. documents: how many there are, where they are kept apart.
    """

    format: int
    name: str
    source: str
    tokenizer: str
    vocabulary: str | None
    vocab_size: Count
    token_counts: dict[Part, Count]
    byte_counts: dict[Part, Count]
    sha256: str
    fingerprint: str
    version: int = 1
    left_out: LeftOut | None = None
    documents: Documents | None = None

    @pydantic.field_validator("token_counts", "byte_counts", mode="after")
    @classmethod
    def _every_part(cls, counts: dict[Part, int]) -> dict[Part, int]:
        if set(counts) != set(PARTS):
            raise ValueError(f"expected a count for each of {', '.join(PARTS)}")
        return counts

    @cached_property
    def codec(self) -> Tokenizer:
        """Raises TunemaxError if it is none, or if a package or a file of it is missing."""
        return Tokenizer.find(self.tokenizer).of(self.vocabulary)

    def bytes_per_token(self, part: Part) -> float:
        """Bytes of UTF-8 text a token stands for on average: nats a token / (ln 2 · bytes a token) are bits a byte."""
        return self.byte_counts[part] / self.token_counts[part]

    def to_json(self) -> bytes:
        """Without what older tunemax does not know, where it says nothing."""
        return json.dumps(self.model_dump(exclude_defaults=True), indent=1).encode() + b"\n"


def fingerprint(
    tokenizer: Tokenizer, token_counts: dict[Part, int], sha256: str, documents: Documents | None = None
) -> str:
    """64 hexadecimal digits; equal for equal text, split, tokenizer and documents that are kept apart, whatever the
    machine, path or name."""
    parts = [tokenizer.kind, tokenizer.vocabulary, [token_counts[part] for part in PARTS], sha256]
    if documents:
        parts += [[documents.counts[part] for part in PARTS], documents.sha256]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def is_prepared(folder: Path) -> bool:
    """Whether a folder claims to hold prepared tokens."""
    return (folder / MANIFEST).is_file() and (folder / TOKENS).is_file()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a prepared folder, checked against itself. Raises TunemaxError."""
    path = folder / MANIFEST
    try:
        raw: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise TunemaxError(f"{folder}: no {MANIFEST} there; expected a folder that `tunemax prepare` wrote") from None
    except (OSError, ValueError) as error:
        raise TunemaxError(f"{path}: cannot be read ({str(error).splitlines()[0]}); {AGAIN}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        found = raw.get("format") if isinstance(raw, dict) else None
        raise TunemaxError(f"{path}: format = {found}: this tunemax reads format {FORMAT}; {AGAIN}")
    try:
        manifest = Manifest.model_validate(raw)
    except pydantic.ValidationError as error:
        raise TunemaxError(f"{path}: {explain(error)}; {AGAIN}") from error
    try:
        codec = manifest.codec
    except Absent:
        raise
    except TunemaxError as error:
        raise TunemaxError(f"{path}: {error}; {AGAIN}") from error
    expected = fingerprint(codec, manifest.token_counts, manifest.sha256, manifest.documents)
    if expected != manifest.fingerprint or manifest.vocab_size != codec.vocab_size:
        raise TunemaxError(f"{path}: was changed by hand: its fingerprint does not fit the rest; {AGAIN}")
    return manifest
