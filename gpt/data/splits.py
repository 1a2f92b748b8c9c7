"""How a text becomes train, tuning, confirmation and test: by place in a file, or by file in a folder.

A folder is split so that no slice repeats what is trained on: what a file has in common with another one stays in one
of the two. `by_path` is how older tunemax did it, and its text has to come out again for the studies of that time.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tunemax.gpt.data.manifest import PARTS, SLICES, LeftOut, Part
from tunemax.gpt.data.repeats import Passages, repeated, whole_lines, without
from tunemax.gpt.data.skipped import Skipped
from tunemax.gpt.data.tables import bare, unpacked
from tunemax.gpt.data.texts import HELD, Texts

SHARES: dict[Part, float] = {"train": 0.85, "tuning": 0.05, "confirmation": 0.05, "test": 0.05}
REPEATED = 0.5  # a file with a larger share that stood in other files is left out
SHORT = 0.01  # of its size: what a slice of whole files may lack
TRIES = 4  # to fill a slice with the ends of files, of which what their beginnings say, too, is cut out

Fault = Callable[[bytes], str]
"""Why a file, by what it holds, does not belong to the text; nothing if it does."""


class Again(Iterable[bytes]):
    """What is read from its beginning on, each time that somebody wants it."""

    def __init__(self, begin: Callable[[], Iterator[bytes]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[bytes]:
        return self._begin()


@dataclass(frozen=True)
class Split:
    """The text of each part in pieces, as often as one asks, and what was left out of it to get there.

    whole: whether each piece is a document; else a part is one, and its pieces are cut anywhere. size: bytes in all, if
    that is known.
    """

    parts: Mapping[Part, Iterable[bytes]]
    left_out: LeftOut | None = None
    whole: bool = True
    skipped: Skipped = field(default_factory=Skipped)
    size: int | None = None


def by_position(path: Path, piece: int = 1 << 24) -> Split:
    """One file: the first 85 % to train on, then three slices of 5 %. Read in pieces of so many bytes."""
    size = path.stat().st_size if bare(path) == path else _unpacked_size(path, piece)
    slice = max(1, round(size * SHARES["test"])) if size else 0
    starts = [0, *(max(0, size - slices * slice) for slices in (3, 2, 1)), size]

    def read(start: int, end: int) -> Iterator[bytes]:
        with unpacked(path) as file:
            file.seek(start)
            for place in range(start, end, piece):
                yield file.read(min(piece, end - place))

    def part(i: int) -> Again:
        return Again(lambda: read(starts[i], starts[i + 1]))

    return Split({name: part(i) for i, name in enumerate(PARTS)}, whole=False, size=size)


def _unpacked_size(path: Path, piece: int) -> int:
    with unpacked(path) as file:
        return sum(map(len, iter(lambda: file.read(piece), b"")))


def by_document(documents: Iterable[bytes], skipped: Skipped) -> Split:
    """Documents that are read one after the other, each whole in one part: in the order of a hash of what they say,
    the first ones fill the slices, and all others are trained on. What comes again is left out.

    Only hashes and sizes are held in memory: documents are read anew for each part.
    """
    found, lengths = array("Q"), array("q")
    for document in documents:
        found.append(_hash(document))
        lengths.append(len(document))
    if not found:
        return Split(dict.fromkeys(PARTS, ()), skipped=skipped)
    hashes, sizes = np.frombuffer(found, np.uint64), np.frombuffer(lengths, np.int64)
    order = np.argsort(hashes, kind="stable")
    again = np.append(False, hashes[order][1:] == hashes[order][:-1])
    for number in np.sort(order[again]).tolist():
        skipped.add("duplicate", f"document {number + 1}")
    order = order[~again]
    ends = sizes[order].cumsum()
    owners = np.full(len(sizes), -1, np.int8)
    owners[order] = PARTS.index("train")
    first, filled = 0, 0
    for part in reversed(SLICES):
        last = int(np.searchsorted(ends, filled + ends[-1] * SHARES[part]))
        chosen = order[first : last + 1]
        owners[chosen] = PARTS.index(part)
        filled += int(sizes[chosen].sum())
        first += len(chosen)

    def of(part: Part) -> Again:
        mine = PARTS.index(part)
        return Again(lambda: (text for text, owner in zip(documents, owners, strict=True) if owner == mine))

    return Split({part: of(part) for part in PARTS}, skipped=skipped, size=int(ends[-1]))


def by_file(
    folder: Path,
    names: list[str],
    fault: Fault,
    read_of: Callable[[bytes], bytes] = bytes,
    skipped: Skipped | None = None,
) -> Split:
    """A folder's files, without what they have in common, dealt to slices of equal size and to train.

    read_of: what of each file is the text. skipped: takes what is left out, and why.

    1. Files stand in the order of a hash of their paths. A passage of 64 bytes or more that stood in an earlier file
       (`repeats.repeated`) is cut out, with the lines that it touches; a file of which that is more than half is left
       out whole.
    2. From the last to the first, each file goes into the first slice with room for all of it, else into train. So a
       file that comes or goes moves few others.
    3. A slice that then lacks more than 1 % takes the end of train's largest file: files are few there, or large.
    """
    skipped = Skipped() if skipped is None else skipped

    def text_of(name: str) -> bytes:
        return ended(read_of(ended((folder / name).read_bytes())))

    sizes: dict[str, int] = {}
    held: dict[str, bytes] = {}
    whole = 0
    for name in names:
        file = ended((folder / name).read_bytes())
        if reason := fault(file) if file else "empty":
            skipped.add(reason, name)
        elif text := ended(read_of(file)):
            sizes[name] = len(text)
            whole += len(text)
            if whole <= HELD:
                held[name] = text
            else:
                held.clear()
    order = sorted(sizes, key=_place)
    if not order:
        return Split(dict.fromkeys(PARTS, ()), skipped=skipped)
    known = [held.pop(name) for name in order] if whole <= HELD else None
    texts, left_out = _distinct(Texts(lambda i: text_of(order[i]), [sizes[name] for name in order], known))
    for name, length in zip(order, texts.sizes, strict=True):
        if not length:
            skipped.add("duplicate", name)
    parts = _dealt(order, texts)
    return Split(parts, left_out, skipped=skipped, size=sum(texts.sizes))


def _dealt(order: list[str], texts: Texts) -> dict[Part, Again]:
    """The second and third step of `by_file`: the files of each part, by their names."""
    size = round(sum(texts.sizes) * SHARES["test"])
    room = dict.fromkeys(reversed(SLICES), size)
    sizes: dict[Part, dict[str, int]] = {part: {} for part in PARTS}
    for name, length in reversed([*zip(order, texts.sizes, strict=True)]):
        part = next((slice for slice in room if length <= room[slice]), None)
        sizes[part or "train"][name] = length
        if part:
            room[part] -= length
    cut: dict[Part, dict[str, bytes]] = {part: {} for part in PARTS}
    numbers = {name: number for number, name in enumerate(order)}

    def text(part: Part, name: str) -> bytes:
        return cut[part][name] if name in cut[part] else texts[numbers[name]]

    train = sizes["train"]
    for part, _ in itertools.product(room, range(TRIES)):
        if room[part] > SHORT * size:
            largest = max(train, key=lambda name: train[name])
            whole = text("train", largest)
            start, end = whole[: -room[part]], whole[-room[part] :]
            cut["train"][largest] = ended(start)
            train[largest] = len(ended(start))
            more = without(end, whole_lines(end, repeated([start, end])[1]))
            cut[part][largest] = more + cut[part].get(largest, b"")
            sizes[part][largest] = len(cut[part][largest])
            room[part] -= len(more)

    def of(part: Part) -> Again:
        return Again(lambda: (text(part, name) for name in sorted(sizes[part])))

    return {part: of(part) for part in PARTS}


def _distinct(texts: Texts) -> tuple[Texts, LeftOut]:
    """The texts without what stood in earlier ones, empty where all is left out; and how much that was."""
    cuts: list[Passages] = []
    kept, files, passages = [], 0, 0
    for text, found in zip(texts, repeated(texts), strict=True):
        if sum(end - start for start, end in found) > REPEATED * len(text):
            files += 1
            cuts.append([(0, len(text))])
        else:
            passages += len(found)
            cuts.append(whole_lines(text, found))
        kept.append(len(text) - sum(end - start for start, end in cuts[-1]))
    before, after = sum(texts.sizes), sum(kept)
    left_out = LeftOut(files=files, passages=passages, bytes=before - after, of_bytes=before)
    return Texts(lambda i: without(texts[i], cuts[i]), kept), left_out


def by_path(folder: Path, names: list[str], fault: Fault) -> Split:
    """As data of version 1 was split: the hash of its path decides on each file, whatever others there are."""

    def read(part: Part) -> Iterator[bytes]:
        for name in names:
            if _part_by_path(name) == part and (text := (folder / name).read_bytes()) and not fault(text):
                yield ended(text)

    def of(part: Part) -> Again:
        return Again(lambda: read(part))

    return Split({part: of(part) for part in PARTS})


def _part_by_path(name: str) -> Part:
    place = _place(name)
    for part, share in SHARES.items():
        if place < share:
            return part
        place -= share
    return "test"


def _hash(document: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(document, digest_size=8).digest(), "big")


def _place(name: str) -> float:
    """Where a file stands among all that there could be, from 0 to 1, by its path with `/` between folders."""
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big") / 2**64


def ended(text: bytes) -> bytes:
    """A file's text with a line end behind it, since another file may follow."""
    return text if text.endswith(b"\n") or not text else text + b"\n"
