"""How a text becomes train, tuning, confirmation and test: by place in a file, or by file in a folder.

A folder is split so that no slice repeats what is trained on: what a file has in common with another one stays in one
of the two. `by_path` is how older tunemax did it, and its text has to come out again for the studies of that time.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tunemax.gpt.data.manifest import PARTS, SLICES, LeftOut, Part
from tunemax.gpt.data.repeats import repeated, whole_lines, without

SHARES: dict[Part, float] = {"train": 0.85, "tuning": 0.05, "confirmation": 0.05, "test": 0.05}
REPEATED = 0.5  # a file with a larger share that stood in other files is left out
SHORT = 0.01  # of its size: what a slice of whole files may lack
TRIES = 4  # to fill a slice with the ends of files, of which what their beginnings say, too, is cut out

Keep = Callable[[bytes], bool]
"""Whether a file, by what it holds, belongs to the text."""


@dataclass(frozen=True)
class Split:
    """The text of each part in pieces, and what was left out of it to get there."""

    parts: Mapping[Part, Iterable[bytes]]
    left_out: LeftOut | None = None


def by_position(path: Path, piece: int = 1 << 24) -> Split:
    """One file: the first 85 % to train on, then three slices of 5 %. Read in pieces of so many bytes."""
    size = path.stat().st_size
    slice = max(1, round(size * SHARES["test"])) if size else 0
    starts = [0, *(max(0, size - slices * slice) for slices in (3, 2, 1)), size]

    def read(start: int, end: int) -> Iterator[bytes]:
        with path.open("rb") as file:
            file.seek(start)
            for place in range(start, end, piece):
                yield file.read(min(piece, end - place))

    return Split({part: read(starts[i], starts[i + 1]) for i, part in enumerate(PARTS)})


def by_file(folder: Path, names: list[str], keep: Keep, read_of: Callable[[bytes], bytes] = bytes) -> Split:
    """A folder's files, without what they have in common, dealt to slices of equal size and to train.

    read_of: what of each file is the text.

    1. Files stand in the order of a hash of their paths. A passage of 64 bytes or more that stood in an earlier file
       (`repeats.repeated`) is cut out, with the lines that it touches; a file of which that is more than half is left
       out whole.
    2. From the last to the first, each file goes into the first slice with room for all of it, else into train. So a
       file that comes or goes moves few others.
    3. A slice that then lacks more than 1 % takes the end of train's largest file: files are few there, or large.
    """
    read = {
        name: text
        for name in names
        if (file := _ended((folder / name).read_bytes())) and keep(file) and (text := _ended(read_of(file)))
    }
    order = sorted(read, key=_place)
    if not order:
        return Split(dict.fromkeys(PARTS, ()))
    texts, left_out = _distinct([read.pop(name) for name in order])
    size = round(sum(map(len, texts)) * SHARES["test"])
    room = dict.fromkeys(reversed(SLICES), size)
    parts: dict[Part, dict[str, bytes]] = {part: {} for part in PARTS}
    for name, text in reversed([*zip(order, texts, strict=True)]):
        part = next((slice for slice in room if len(text) <= room[slice]), None)
        parts[part or "train"][name] = text
        if part:
            room[part] -= len(text)
    train = parts["train"]
    for part, _ in itertools.product(room, range(TRIES)):
        if room[part] > SHORT * size:
            largest = max(train, key=lambda name: len(train[name]))
            start, end = train[largest][: -room[part]], train[largest][-room[part] :]
            train[largest] = _ended(start)
            more = without(end, whole_lines(end, repeated([start, end])[1]))
            parts[part][largest] = more + parts[part].get(largest, b"")
            room[part] -= len(more)
    return Split({part: [files[name] for name in sorted(files)] for part, files in parts.items()}, left_out)


def _distinct(texts: list[bytes]) -> tuple[list[bytes], LeftOut]:
    """The texts without what stood in earlier ones, empty where all is left out; and how much that was."""
    kept, files, passages = [], 0, 0
    for text, found in zip(texts, repeated(texts), strict=True):
        if sum(end - start for start, end in found) > REPEATED * len(text):
            files += 1
            kept.append(b"")
        else:
            passages += len(found)
            kept.append(without(text, whole_lines(text, found)))
    before, after = sum(map(len, texts)), sum(map(len, kept))
    return kept, LeftOut(files=files, passages=passages, bytes=before - after, of_bytes=before)


def by_path(folder: Path, names: list[str], keep: Keep) -> Split:
    """As data of version 1 was split: the hash of its path decides on each file, whatever others there are."""

    def read(part: Part) -> Iterator[bytes]:
        for name in names:
            if _part_by_path(name) == part and keep(text := (folder / name).read_bytes()) and text:
                yield _ended(text)

    return Split({part: read(part) for part in PARTS})


def _part_by_path(name: str) -> Part:
    place = _place(name)
    for part, share in SHARES.items():
        if place < share:
            return part
        place -= share
    return "test"


def _place(name: str) -> float:
    """Where a file stands among all that there could be, from 0 to 1, by its path with `/` between folders."""
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big") / 2**64


def _ended(text: bytes) -> bytes:
    """A file's text with a line end behind it, since another file may follow."""
    return text if text.endswith(b"\n") or not text else text + b"\n"
