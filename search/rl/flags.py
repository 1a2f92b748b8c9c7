"""How arguments of an environment are written on the command line: flags that are read, and flags that say a scene.

A value is one, or several with commas: ``n_embd=8,64``. Whatever else the argument takes is YAML, from ``[`` or ``{``
on: ``weight_decay={low: 0.01, high: 1}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tunemax.envs.agents.scene import Scene
from tunemax.envs.variation import HORIZON, Varied, named, spec_of
from tunemax.gpt.config import resolve
from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.study_file import placed

VARY = "n_embd=8,64"
HELD_OUT = "n_embd=96"
DISTURB = "text=python_docstrings"


def scene_words(scene: Scene) -> list[str]:
    """The flags that say which scene, for a command to be typed; those of its actions are each command's own."""
    given = scene.arguments
    found = ["--env", scene.name]
    for name in ("horizon", "frame_skip"):
        found += [f"--{name.replace('_', '-')}", str(given[name])] if name in given else []
    found += ["--controls", ",".join(given["controls"])] if "controls" in given else []
    found += [word for field, value in given.get("config", {}).items() for word in ("--set", f"{field}={value}")]
    for field, each in given.get("vary", {}).items():
        keys = each if isinstance(each, Mapping) else {"values": each}
        flags = {"--vary": keys.get("values"), "--held-out": keys.get("held_out")}
        if keys.keys() - {"values", "held_out"}:
            flags = {"--vary": keys}
        found += [word for flag, value in flags.items() if value for word in (flag, f"{field}={_written(value)}")]
    for kind, value in given.get("disturb", {}).items():
        found += ["--disturb", f"{kind}={_written(value)}"]
    return found


def absolute(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Arguments of an environment in which texts, as seen from a folder, have paths that lead there from everywhere."""

    def of_field(name: str, value: Any) -> Any:
        return _placed(value, folder) if name != HORIZON and resolve(name) == "dataset" else value

    fields = {
        key: {name: of_field(name, value) for name, value in arguments[key].items()}
        for key in ("config", "vary")
        if isinstance(arguments.get(key), Mapping)
    }
    disturb = arguments.get("disturb")
    if isinstance(disturb, Mapping):
        fields["disturb"] = {kind: _placed(each, folder) if kind == "text" else each for kind, each in disturb.items()}
    return {**arguments, **fields}


def _placed(value: Any, folder: Path) -> Any:
    """A dataset, or whatever has some in it."""
    if isinstance(value, list):
        return [_placed(each, folder) for each in value]
    if isinstance(value, dict):
        return {key: _placed(each, folder) for key, each in value.items()}
    return placed(value, folder) if isinstance(value, str) else value


def vary_of(varied: Sequence[str], held_out: Sequence[str]) -> dict[str, Any]:
    """The argument `vary` that the flags of these values say. Raises TunemaxError for what cannot be drawn."""
    found: dict[str, dict[str, Any]] = {}
    flags = [("--vary", "values", VARY, text) for text in varied]
    for flag, key, example, text in [*flags, *(("--held-out", "held_out", HELD_OUT, text) for text in held_out)]:
        given, value = _parted(flag, text, example)
        name = named(given)
        of_field = found.setdefault(name, {})
        for key_of, each in (value if isinstance(value, Mapping) else {key: value}).items():
            if key_of in of_field:
                raise TunemaxError(f"{flag} {given}: its {key_of} are given twice; keep one")
            of_field[key_of] = each
    return {name: _typed(name, of_field) for name, of_field in found.items()}


def disturb_of(texts: Sequence[str]) -> dict[str, Any]:
    """The argument `disturb` that the flags of these values say. Raises TunemaxError."""
    found: dict[str, Any] = {}
    for text in texts:
        kind, value = _parted("--disturb", text, DISTURB)
        if kind in found:
            raise TunemaxError(f"--disturb {kind}: given twice; keep one")
        if isinstance(value, list):
            value = [_scalar(each) if isinstance(each, str) else each for each in value]
            value = value[0] if [type(each) for each in value] == [bool] else value  # which needs no list
        found[kind] = value
    return found


def _parted(flag: str, text: str, example: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise TunemaxError(f"{flag} {text}: expected NAME=VALUES, as in {flag} {example}")
    if not value.startswith(("[", "{")):
        return name, value.split(",") if value else []
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise TunemaxError(f"{flag} {text}: is no YAML; write a list as in {flag} {example}") from error


def _typed(name: str, given: Mapping[str, Any]) -> Any:
    """What is said of a field, with values of its type, in the shortest form that Python takes."""
    varied, spec = Varied.of(name, given), spec_of(name)
    lists = {key: [spec.check(each) for each in getattr(varied, key)] for key in ("values", "held_out")}
    ends = {key: spec.check(getattr(varied, key)) for key in ("low", "high") if getattr(varied, key) is not None}
    plain = {**{key: values for key, values in lists.items() if values}, **ends}
    return plain["values"] if plain.keys() == {"values"} else plain


def _scalar(text: str) -> Any:
    """A number or a truth value, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _written(value: Any) -> str:
    """A value as the flags take it: with commas if it can be, else as JSON, which is YAML."""
    if isinstance(value, bool):
        return json.dumps(value)
    words = [each if isinstance(each, str) else json.dumps(each) for each in value] if isinstance(value, list) else []
    plain = words and not any("," in word or word[:1] in ("", "[", "{") for word in words)
    return ",".join(words) if plain else json.dumps(value)
