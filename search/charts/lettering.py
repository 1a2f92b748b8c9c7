"""How much room words take where nobody can measure them: on a page that another computer will draw."""

from __future__ import annotations

import unicodedata

from tunemax.envs.canvas import shortened

NAME = 160.0
"""Pixels of a name in a picture; a longer one is shortened."""
WIDTHS = {"ijl.,:;'|": 4.4, ' frtI()[]/\\-"!`': 6.0, "cksvxyz": 7.2, "mwMWOQ@%&": 12.2}
"""Pixels of a letter of 12 pixels, in the widest of the usual fonts."""
LETTERS = {letter: width for letters, width in WIDTHS.items() for letter in letters}


def extent(text: str) -> float:
    """Pixels of a text in letters of 12 pixels: rather too many than too few."""
    return sum(map(_letter, text))


def _letter(letter: str) -> float:
    if letter in LETTERS:
        return LETTERS[letter]
    if letter.isascii():
        return 7.8 if letter.isalnum() and not letter.isupper() else 10.2
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0.0  # it stands on the letter before it
    return 17.0 if unicodedata.east_asian_width(letter) in ("W", "F") else 13.0


def short(name: str, most: float = NAME) -> str:
    """A name in at most so many pixels, without its middle if it is longer: what differs is often the end."""
    return shortened(name, most, extent)


def filled(text: str, most: float) -> list[str]:
    """Lines of at most so many pixels, broken between words; a word that is longer is shortened."""
    lines = [""]
    for word in text.split():
        if lines[-1] and extent(f"{lines[-1]} {word}") > most:
            lines.append("")
        lines[-1] = short(f"{lines[-1]} {word}".strip(), most)
    return lines
