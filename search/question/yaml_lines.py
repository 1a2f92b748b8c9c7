"""A YAML file as plain data, with the line of every key and item, so that an error can name it.

Scalars are read by the core rules of YAML 1.2: ``1e-3`` is a number and ``no`` is text (PyYAML alone follows 1.1, where
they are not). Duplicate keys, aliases and tags are refused.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.numbers import whole_number
from tunemax.gpt.visible import steering

Where = tuple[str | int, ...]
"""The way to a value: ``("space", "learning_rate", "low")``."""

LARGEST_FILE = 1_000_000
"""Bytes; whatever is larger was not written by a person."""


class Fault(TunemaxError):
    """A TunemaxError that knows which value of the data it is about."""

    def __init__(self, where: Where, message: str) -> None:
        self.where, self.message = where, message
        super().__init__(one_line(f"{'.'.join(map(str, where))}: {message}" if where else message))

    def __reduce__(self) -> tuple[type[Fault], tuple[Where, str]]:
        # A process that cannot send its error would hang the one that waits for it
        return Fault, (self.where, self.message)


def one_line(text: str) -> str:
    """A message that quotes what somebody wrote, as one printable line."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


@dataclass(frozen=True)
class Located:
    """Plain data and the lines (from 1) at which its values begin."""

    data: Any
    lines: dict[Where, int]

    def line(self, where: Where) -> int:
        """The line of a value, or of the nearest thing around it that the file has."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)


def read_yaml(file: Path) -> Located:
    """Read a YAML file. Raises TunemaxError, with file and line where there is one."""
    return _parsed(file, parse_yaml)


def read_documents(file: Path) -> Located:
    """Read a file of any number of YAML documents, or of JSON: the data is a list of them. Raises TunemaxError."""
    return _parsed(file, parse_documents)


def _parsed(file: Path, parse: Callable[[str], Located]) -> Located:
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)  # a device or a pipe has no size, and may have no end
        if len(content) > LARGEST_FILE:
            many = f"more than {LARGEST_FILE} bytes are too many for a YAML file written by hand"
            raise TunemaxError(f"{file}: {many}; is it the right file?")
        text = content.decode()
    except FileNotFoundError:
        others = [str(other) for pattern in ("*.yaml", "*.yml") for other in file.parent.glob(pattern)]
        raise TunemaxError(f"{file}: no such file{did_you_mean(str(file), others) if others else ''}") from None
    except UnicodeDecodeError:
        raise TunemaxError(f"{file}: not a text in UTF-8; is it the right file?") from None
    except OSError as error:
        raise TunemaxError(f"{file}: cannot be read ({error.strerror})") from None
    try:
        return parse(text)
    except _Broken as error:
        raise TunemaxError(f"{file}:{error.line}: {error}") from None


def parse_yaml(text: str) -> Located:
    """Plain data of a YAML text, and its lines."""
    lines: dict[Where, int] = {}
    with _broken(text):
        node = _Loader(text).get_single_node()
        return Located(_plain(node, (), lines), lines)


def parse_documents(text: str) -> Located:
    """Plain data of every document of a text, as a list, and their lines. JSON may be indented by tabs."""
    if text.lstrip().startswith(("{", "[")):
        text = text.replace("\t", " ")  # in JSON a tab stands between values only
    lines: dict[Where, int] = {(): 1}
    with _broken(text):
        loader = _Loader(text)
        documents: list[Any] = []
        while loader.check_node():
            documents.append(_plain(loader.get_node(), (len(documents),), lines))
        return Located(documents, lines)


@contextlib.contextmanager
def _broken(text: str) -> Iterator[None]:
    """What PyYAML says of a text as one line of ours."""
    try:
        yield
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _Broken(f"not YAML: a character that may not be in it (#x{int(error.character):04x})", line) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _Broken(f"not YAML: {error.problem or error.context}", mark.line + 1 if mark else 1) from None
    except RecursionError:
        raise _Broken("nested too deeply for a file written by hand", 1) from None


class _Broken(TunemaxError):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(one_line(message))
        self.line = line


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own attribute)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _Broken("aliases (*name) are not taken here; write the value out", self.get_mark().line + 1)
        return super().compose_node(parent, index)


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), _first)


def _plain(node: yaml.Node | None, where: Where, lines: dict[Where, int]) -> Any:
    if node is None:
        return None
    line = node.start_mark.line + 1
    lines.setdefault(where, line)
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return [_plain(item, (*where, index), lines) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode) and kind == "map":
        return _mapping(node, where, lines)
    if not isinstance(node, yaml.ScalarNode) or kind not in ("str", "int", "float", "bool", "null"):
        raise _Broken(f"the tag {node.tag} is not taken here; write a plain value", line)
    if kind == "int" and len(node.value) > 100:
        raise _Broken(f"a number of {len(node.value)} digits", line)
    _check_text(node.value, line)
    return _scalar(kind, node.value)


def _check_text(text: str, line: int) -> None:
    if mark := steering(text):
        raise _Broken(f"{mark} is a control character, which steers terminals or hides text; take it out", line)


def _scalar(kind: str, text: str) -> Any:
    if kind == "int":
        return int(text, 16) if text.startswith("0x") else int(text)
    if kind == "float":
        whole = whole_number(text) if "." not in text else None  # 15e3 counts as 15000 does
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan")) if whole is None else whole
    if kind == "bool":
        return text.lower() == "true"
    return None if kind == "null" else text


def _mapping(node: yaml.MappingNode, where: Where, lines: dict[Where, int]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise _Broken("a key must be a name", line)
        _check_text(key.value, line)
        path = (*where, key.value)
        if key.value in data:
            name = ".".join(part for part in path if isinstance(part, str))
            raise _Broken(f"{name}: given twice (first in line {lines[path]}); keep one", line)
        lines[path] = line
        data[key.value] = _plain(value, path, lines)
    return data
