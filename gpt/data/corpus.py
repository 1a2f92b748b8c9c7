"""Prepared tokens as training sees them: batches that follow from (seed, iteration), and fixed validation windows."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tunemax.gpt.data.boundaries import Documents
from tunemax.gpt.data.manifest import AGAIN, DOCUMENTS, PARTS, SLICES, TOKENS, Manifest, Part, read_manifest
from tunemax.gpt.data.repeats import leaks
from tunemax.gpt.data.targets import Targets, of_a_look, spans_of, targets_of
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.tokenizers import Ids, Tokens

READ = 1 << 21  # tokens that are read at once
BLOCK = 256  # iterations whose offsets are drawn at once: drawing each by itself costs ten times a batch's gather
BLOCKS_KEPT = 512  # more than the members of a trainer, which all walk through their blocks at the same pace


class Corpus:
    """The tokens of one prepared folder, memory-mapped; made by `load` or `open_data`.

    manifest: what they are. train: token ids (n,), uint16. slices: the same for tuning, confirmation and test.
    Nothing here has a position that moves: every method is a function of its arguments, so an evaluation cannot disturb
    a training, and a resumed member sees exactly what it would have seen.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, tokens: Tokens, begins: Mapping[Part, Ids] | None = None
    ) -> None:
        """tokens: all parts one behind the other, in the order of `PARTS`. begins: where documents begin in each part,
        if they are kept apart."""
        ends = list(itertools.accumulate(manifest.token_counts[part] for part in PARTS))
        self.folder = folder
        self.manifest = manifest
        self._parts: dict[Part, Tokens] = {
            part: tokens[start:end] for part, start, end in zip(PARTS, [0, *ends[:-1]], ends, strict=True)
        }
        self.train = self._parts["train"]
        self.slices: dict[str, Tokens] = {part: self._parts[part] for part in SLICES}
        self._targets: dict[tuple[str, int, int, bool], Targets] = {}
        self._documents = {part: Documents(found, len(self._parts[part])) for part, found in (begins or {}).items()}

    def batch_offsets(
        self, seed: int, iteration: int, batch_size: int, block_size: int, start: float = 0.0, end: float = 1.0
    ) -> Ids:
        """Where the windows of one iteration begin in `train`: (batch_size,), read-only, uniform, with replacement.

        A function of the arguments and the length of the training text alone, and of that of its documents where they
        are kept apart: then each window lies in one. seed, iteration: ≥ 0.
        start, end: the windows lie in the part of the text between these shares of it.
        Raises TunemaxError if the text, or the part, is shorter than a window.
        """
        self._require("train", block_size)
        first, last = round(start * len(self.train)), round(end * len(self.train))
        if last - first <= block_size:
            raise TunemaxError(
                f"data_start = {start:g}, data_end = {end:g}: this part of {self.manifest.name} has {last - first} "
                f"tokens, and a window needs {block_size + 1}; take a larger part or a smaller block_size"
            )
        block, row = divmod(iteration, BLOCK)
        if documents := self._documents.get("train"):
            places = documents.places(block_size, first, last)
            if not places.count:
                whole = (start, end) == (0, 1)
                where = "" if whole else f", between data_start = {start:g} and data_end = {end:g},"
                raise self._no_document("train", block_size, where)
            return places.at(_drawn(seed, block, batch_size, 0, places.count)[row])
        offsets: Ids = _drawn(seed, block, batch_size, first, last - first - block_size)[row]
        return offsets

    def at(self, offsets: Ids, block_size: int) -> Ids:
        """Windows of `train` from each offset, (*offsets.shape, block_size + 1), in one gather."""
        windows: Ids = self.train[offsets[..., None] + np.arange(block_size + 1)].astype(np.int64)
        return windows

    def windows(self, slice: str, block_size: int, count: int, start: float = 0.0, end: float = 1.0) -> Ids:
        """`count` windows of a slice spread evenly over it, or all if count is 0 or too many: (n, block_size + 1).

        start, end: over its part between these shares of it. Fixed by the arguments. No token is an input of two
        windows; the last target of one is the first input of its neighbour. Raises TunemaxError for an unknown slice,
        or one shorter than a window.
        """
        tokens = self._require(slice, block_size)
        offsets = self.window_offsets(slice, block_size, start, end)
        chosen = offsets[np.arange(count) * len(offsets) // count] if 0 < count < len(offsets) else offsets
        windows: Ids = tokens[chosen[:, None] + np.arange(block_size + 1)].astype(np.int64)
        return windows

    def count_windows(self, slice: str, block_size: int, start: float = 0.0, end: float = 1.0) -> int:
        """How many windows, at most, a slice has between these shares of it."""
        return len(self.window_offsets(slice, block_size, start, end))

    def window_offsets(self, slice: str, block_size: int, start: float = 0.0, end: float = 1.0) -> Ids:
        """Where windows begin that tile a slice between these shares of it; each in one document, if these are kept
        apart."""
        length = len(self._parts[_part(slice)])
        first, last = round(start * length), round(end * length)
        if documents := self._documents.get(_part(slice)):
            return documents.tiled(block_size, first, last)
        return first + np.arange(max(0, last - first - 1) // block_size) * block_size

    def targets(self, slice: str, count: int, block_size: int, *, look: bool = False) -> Targets:
        """Fixed targets of a slice for windows of this context: of `count` bytes of text; 0 or too many: all of it.

        look: those of a look on the way to the horizon. The same targets for every context. Raises TunemaxError as
        `windows` does.
        """
        key = slice, count, block_size, look
        if key not in self._targets:
            tokens, codec = self._require(slice, block_size), self.manifest.codec
            begins = self._documents[_part(slice)].begins if self._documents else None
            spans = spans_of(tokens, codec, count, begins)
            self._targets[key] = targets_of(tokens, codec, of_a_look(spans) if look else spans, block_size, begins)
        return self._targets[key]

    def windows_at(self, slice: str, offsets: Ids, block_size: int) -> Ids:
        """Windows of a slice from each offset (n,): (n, block_size + 1). Behind the end of the slice its last token
        comes again, where a document at the end is shorter than a window."""
        tokens = self._parts[_part(slice)]
        places = np.minimum(offsets[:, None] + np.arange(block_size + 1), len(tokens) - 1)
        windows: Ids = tokens[places].astype(np.int64)
        return windows

    def check_evaluation(self, slice: str, tokens: int) -> None:
        """Refuse, before anything is trained, an evaluation of more tokens than its slice has bytes of text."""
        if tokens > (there := self.manifest.byte_counts[_part(slice)]):
            raise TunemaxError(
                f"eval_tokens = {tokens}: {slice} of {self.manifest.name} has {there}; take at most so many, or 0 for "
                "all of it"
            )

    def check_context(self, block_size: int) -> None:
        """Refuse, before anything is trained, a context that does not fit into the training text and every slice."""
        for part in PARTS:
            self._require(part, block_size)
            if self._documents and not self._documents[part].places(block_size, 0, len(self._parts[part])).count:
                raise self._no_document(part, block_size)

    def bytes_per_token(self, slice: str) -> float:
        """Bytes of UTF-8 text a token of the slice stands for: bits a byte = nats a token / (ln 2 · this)."""
        return self.manifest.bytes_per_token(_part(slice))

    def leaks(self) -> dict[Part, float]:
        """Of each slice the share of its spans of 64 bytes that stand, as they are, in the training text."""

        def text(part: Part) -> Iterator[bytes]:
            counts = self.manifest.token_counts
            left, before = counts[part], sum(counts[other] for other in PARTS[: PARTS.index(part)])
            with (self.folder / TOKENS).open("rb") as file:  # what is mapped would stay in memory
                file.seek(2 * before)
                while left:
                    tokens = np.frombuffer(file.read(2 * min(left, READ)), "<u2")
                    left -= len(tokens)
                    yield self.manifest.codec.bytes_in(tokens.astype(np.uint16))

        return leaks({part: text(part) for part in PARTS}, self.manifest.byte_counts)

    @property
    def documents(self) -> dict[Part, int]:
        """How many there are in each part; nothing where they are not kept apart."""
        return {part: len(documents.begins) for part, documents in self._documents.items()}

    def share_in_windows(self, block_size: int) -> float:
        """Of the training text, what stands in documents that are long enough for a window."""
        if not self._documents:
            return 1.0
        return self._documents["train"].share(block_size)

    def encode(self, text: str) -> Tokens:
        """Token ids (n,). Raises TunemaxError for a character outside the vocabulary."""
        return self.manifest.codec.encode(text)

    def decode(self, ids: npt.ArrayLike) -> str:
        """Text of token ids. Raises TunemaxError for an id outside the vocabulary."""
        return self.manifest.codec.decode(ids)

    def _no_document(self, part: str, block_size: int, where: str = "") -> TunemaxError:
        kept = f"no document of {part}{where} in {self.manifest.name} has as many tokens as a window, {block_size + 1}"
        return TunemaxError(f"block_size = {block_size}: {kept}; take a smaller block_size, or documents = joined")

    def _require(self, part: str, block_size: int) -> Tokens:
        tokens = self._parts[_part(part)]
        if len(tokens) <= block_size:
            raise TunemaxError(
                f"block_size = {block_size}: {part} of {self.manifest.name} has {len(tokens)} tokens, and a window "
                f"needs {block_size + 1}; give more text or a smaller block_size"
            )
        return tokens


def load(folder: Path) -> Corpus:
    """Open prepared tokens. Raises TunemaxError if manifest or tokens are missing, damaged or at odds."""
    folder = Path(folder)
    if not folder.is_dir():
        raise TunemaxError(f"{folder}: no such folder; expected one that `tunemax prepare` wrote")
    manifest = read_manifest(folder)
    path = folder / TOKENS
    expected = 2 * sum(manifest.token_counts.values())
    try:
        if (size := path.stat().st_size) != expected:
            raise TunemaxError(f"{path}: has {size} bytes where the manifest says {expected}; {AGAIN}")
        sha256, largest = _looked_through(path)
        tokens: Tokens = np.memmap(path, dtype="<u2", mode="r").view(np.ndarray)  # indexing a memmap itself is slow
        begins = _begins(folder, manifest) if manifest.documents else None
    except OSError as error:
        raise TunemaxError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from error
    if sha256 != manifest.sha256:
        raise TunemaxError(f"{path}: the tokens are not those of the manifest (sha256 differs); {AGAIN}")
    if largest >= manifest.vocab_size:
        raise TunemaxError(f"{path}: token id {largest} is outside the vocabulary of {manifest.vocab_size}; {AGAIN}")
    return Corpus(folder, manifest, tokens, begins)


def _looked_through(path: Path) -> tuple[str, int]:
    """The sha256 of a file of tokens, and the largest id in it."""
    digest, largest = hashlib.sha256(), 0
    with path.open("rb") as file:
        while data := file.read(2 * READ):
            digest.update(data)
            largest = max(largest, int(np.frombuffer(data, "<u2").max()))
    return digest.hexdigest(), largest


def _begins(folder: Path, manifest: Manifest) -> dict[Part, Ids]:
    """Where documents begin, by part, as documents.bin has it."""
    said = manifest.documents
    assert said
    path, counts = folder / DOCUMENTS, [said.counts[part] for part in PARTS]
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != said.sha256 or len(data) != 8 * sum(counts):
        raise TunemaxError(f"{path}: not what the manifest says of it (sha256 differs); {AGAIN}")
    parts = np.split(np.frombuffer(data, "<u8").astype(np.int64), np.cumsum(counts)[:-1])
    for part, begins in zip(PARTS, parts, strict=True):
        if begins[0] != 0 or (np.diff(begins) <= 0).any() or begins[-1] >= manifest.token_counts[part]:
            raise TunemaxError(f"{path}: documents of {part} do not lie in it one behind the other; {AGAIN}")
    return dict(zip(PARTS, parts, strict=True))


@lru_cache(maxsize=BLOCKS_KEPT)
def _drawn(seed: int, block: int, batch_size: int, first: int, span: int) -> Ids:
    """Offsets from `first` on and below `first + span` for the iterations of one block: (BLOCK, batch_size).

    Philox's raw bits are the same in every numpy, as `Generator`'s draws need not be. The modulo's bias is span / 2⁶⁴.
    """
    philox = np.random.Philox(key=np.array([seed, block], dtype=np.uint64))
    bits = philox.random_raw(BLOCK * batch_size).reshape(BLOCK, batch_size)
    offsets: Ids = first + (bits % np.uint64(span)).astype(np.int64)
    offsets.setflags(write=False)
    return offsets


def _part(name: str) -> Part:
    for part in PARTS:
        if part == name:
            return part
    raise TunemaxError(f"slice = {name}: no such slice{did_you_mean(name, PARTS)}")
