"""What lies beside the tokens and says what they are: the manifest, its fingerprint, and the two tokenizers."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pydantic

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import explain

FORMAT = 1
MANIFEST, TOKENS = "manifest.json", "tokens.bin"
AGAIN = "delete the folder and prepare the data again"  # what to do about a folder that cannot be used
Part = Literal["train", "tuning", "confirmation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)  # in the order in which they lie in tokens.bin
SLICES: tuple[Part, ...] = PARTS[1:]
Tokens = npt.NDArray[np.uint16]
Ids = npt.NDArray[np.int64]
Count = Annotated[int, pydantic.Field(gt=0)]


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids and back.

    ``byte``: a token is a byte of the UTF-8 text. ``char``: it is a character, its id the place in `vocabulary`.
    """

    kind: Literal["byte", "char"]
    vocabulary: str | None = None

    @property
    def vocab_size(self) -> int:
        return 256 if self.vocabulary is None else len(self.vocabulary)

    def bytes_of(self, tokens: Tokens) -> npt.NDArray[np.int64]:
        """Bytes of UTF-8 text that each token stands for, (n,)."""
        if self.vocabulary is None:
            return np.ones(len(tokens), dtype=np.int64)
        sizes = [len(character.encode("utf-8", errors="surrogatepass")) for character in self.vocabulary]
        return np.array(sizes, dtype=np.int64)[tokens]

    def encode(self, text: str) -> Tokens:
        """Token ids, shape (n,). Raises TunemaxError for a character outside the vocabulary."""
        return self.tokens(text.encode("utf-8", errors="replace"))

    def tokens(self, data: bytes) -> Tokens:
        """Token ids of text that is still bytes; the byte tokenizer takes any bytes, the char tokenizer UTF-8 only."""
        if self.vocabulary is None:
            return np.frombuffer(data, np.uint8).astype(np.uint16)
        try:
            points = _code_points(data.decode())
        except UnicodeDecodeError as error:
            raise TunemaxError(f"byte {error.start + 1} is not UTF-8, in which text is; convert it") from error
        known = _code_points(self.vocabulary)  # in ascending order
        ids = np.searchsorted(known, points).clip(max=len(known) - 1)
        strange = np.flatnonzero(known[ids] != points)
        if len(strange):
            first = chr(points[strange[0]])
            raise TunemaxError(
                f"character {strange[0] + 1:,} is {first!r}: not one of the {len(known)} characters of this data; "
                "leave it out"
            )
        return ids.astype(np.uint16)

    def decode(self, ids: npt.ArrayLike) -> str:
        """Text of token ids; bytes that are no UTF-8 become `�`. Raises TunemaxError for an id that does not exist."""
        array = np.asarray(ids, dtype=np.int64).reshape(-1)
        outside = array[(array < 0) | (array >= self.vocab_size)]
        if len(outside):
            raise TunemaxError(
                f"token id {outside[0]}: expected 0 to {self.vocab_size - 1}, the ids of this data's vocabulary"
            )
        if self.vocabulary is None:
            return array.astype(np.uint8).tobytes().decode("utf-8", errors="replace")
        return "".join(self.vocabulary[i] for i in array)

    def decoder(self) -> Callable[[npt.ArrayLike, bool], str]:
        """Text of token ids that come little by little: a function of the next ids, and of whether they are the last.

        A character whose bytes are several tokens comes with the last of them.
        """
        if self.vocabulary is not None:
            return lambda ids, last: self.decode(ids)
        utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        return lambda ids, last: utf8.decode(np.asarray(ids).astype(np.uint8).tobytes(), last)


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


class Manifest(Strict):
    """What tokens.bin holds. The counts are of each part, `sha256` is of the whole file of tokens.

    version: of the rules by which the text was cleaned and split, see `sources`; not of this file's format. left_out:
    None where these rules leave nothing out.
    """

    format: int
    name: str
    source: str
    tokenizer: Literal["byte", "char"]
    vocabulary: str | None
    vocab_size: Count
    token_counts: dict[Part, Count]
    byte_counts: dict[Part, Count]
    sha256: str
    fingerprint: str
    version: int = 1
    left_out: LeftOut | None = None

    @pydantic.field_validator("token_counts", "byte_counts", mode="after")
    @classmethod
    def _every_part(cls, counts: dict[Part, int]) -> dict[Part, int]:
        if set(counts) != set(PARTS):
            raise ValueError(f"expected a count for each of {', '.join(PARTS)}")
        return counts

    @cached_property
    def codec(self) -> Tokenizer:
        return Tokenizer(self.tokenizer, self.vocabulary)

    def bytes_per_token(self, part: Part) -> float:
        """Bytes of UTF-8 text a token stands for on average: nats a token / (ln 2 · bytes a token) are bits a byte."""
        return self.byte_counts[part] / self.token_counts[part]

    def to_json(self) -> bytes:
        """Without what older tunemax does not know, where it says nothing."""
        return json.dumps(self.model_dump(exclude_defaults=True), indent=1).encode() + b"\n"


def fingerprint(tokenizer: Tokenizer, token_counts: dict[Part, int], sha256: str) -> str:
    """64 hexadecimal digits; equal for equal text, split and tokenizer, whatever the machine, path or name."""
    parts = [tokenizer.kind, tokenizer.vocabulary, [token_counts[part] for part in PARTS], sha256]
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
    expected = fingerprint(manifest.codec, manifest.token_counts, manifest.sha256)
    if expected != manifest.fingerprint or manifest.vocab_size != manifest.codec.vocab_size:
        raise TunemaxError(f"{path}: was changed by hand: its fingerprint does not fit the rest; {AGAIN}")
    return manifest


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), "<u4")
