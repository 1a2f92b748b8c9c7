"""Text from files and databases, made safe to look at."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a cursor, hides or turns other text, ends a line where none is seen to end, or cannot be encoded: control
characters but line feed and tab, separators of lines and paragraphs, overrides of the direction, lone surrogates."""


def steering(text: str) -> str | None:
    """The first character that would steer a terminal or hide text, as `visible` shows it; None if there is none."""
    found = _STEERING.search(text)
    return visible(found[0]) if found else None


def visible(text: str) -> str:
    r"""The text with what would steer a terminal or hide other text written out: ``\u001b``, as JSON has it, too."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Screen:
    """A text stream on which what is written is `visible`: the one place through which a command prints.

    Whatever else is asked of it, such as whether it is a terminal, the stream behind it answers.
    """

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream  # where rich draws, whose pictures move the cursor on purpose

    def write(self, text: str) -> int:
        self.rich_proxied_file.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["rich_proxied_file"], name)


def screen() -> None:
    """From now on standard output and standard error are `visible`, whoever writes there."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is not None:
            setattr(sys, name, Screen(stream))


@contextlib.contextmanager
def screened() -> Iterator[None]:
    """The same in this block alone."""
    before = sys.stdout, sys.stderr
    screen()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
