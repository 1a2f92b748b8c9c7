"""A split as a tokenizer takes it: in pieces of whole characters, where it reads text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tunemax.gpt.data.manifest import PARTS, Part
from tunemax.gpt.data.skipped import Skipped
from tunemax.gpt.data.splits import Again, Split
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.tokenizers.units import units


def of_characters(split: Split) -> Split:
    """The same text without what is no UTF-8: a character that a cut between two parts goes through is in neither, and
    a document that is none is skipped. Where a part is one document, it comes in the units of `units`.

    Raises TunemaxError, when it is read, for a part that is one document and is no UTF-8.
    """

    def of(part: Part) -> Again:
        pieces = split.parts[part]
        return Again(lambda: _documents(pieces, split.skipped) if split.whole else units(_checked(pieces)))

    return Split({part: of(part) for part in PARTS}, split.left_out, split.whole, split.skipped, split.size)


def _documents(pieces: Iterable[bytes], skipped: Skipped) -> Iterator[bytes]:
    for piece in pieces:
        text = trimmed(piece)
        if is_text(text):
            yield text


def is_text(data: bytes) -> bool:
    """Whether it is UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def trimmed(data: bytes) -> bytes:
    """Without the bytes at both ends that belong to characters of which the other bytes are not there. A line end that
    was put behind such a character stays."""
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    line = data.endswith(b"\n")
    end = _complete(data, len(data) - line)
    return data[start:end] + b"\n" * line if start or end < len(data) - line else data


def _complete(data: bytes, end: int) -> int:
    """Where the last character before `end` that is not cut off ends."""
    for back in range(1, min(3, end) + 1):
        byte = data[end - back]
        if byte & 0xC0 != 0x80:
            length = 2 if byte & 0xE0 == 0xC0 else 3 if byte & 0xF0 == 0xE0 else 4 if byte & 0xF8 == 0xF0 else 1
            return end - back if length > back else end
    return end


def _checked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Chunks of one text, cut anew between characters."""
    left, passed = b"", 0
    for number, chunk in enumerate(chunks):
        data = left + chunk
        if not number:
            start = next((i for i in range(min(3, len(data))) if data[i] & 0xC0 != 0x80), min(3, len(data)))
            data, passed = data[start:], start
        end = _complete(data, len(data))
        whole, left = data[:end], data[end:]
        try:
            whole.decode()
        except UnicodeDecodeError as error:
            place = passed + error.start + 1
            raise TunemaxError(f"byte {place:,} of this part is not UTF-8, in which text is; convert it") from error
        passed += len(whole)
        yield whole
