"""Writes index_page.md: the README as a package index shows it, where the files of the repository are not.

.venv/bin/python docs/make_index_page.py
"""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
TARGET = Path(__file__).with_name("index_page.md")
IMAGE = re.compile(r"!\[[^\]]*\]\((?!https?:)[^)]*\)\n*")
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)([^)]*)\)")


def page(text: str) -> str:
    """A text without pictures of the repository; of links into it the words are left, and their paths as names."""
    return LINK.sub(lambda link: link[1] if link[1] in link[2] else f"{link[1]} ({link[2]})", IMAGE.sub("", text))


if __name__ == "__main__":
    TARGET.write_text(page(README.read_text()))
