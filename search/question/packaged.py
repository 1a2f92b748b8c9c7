"""The study files that come with tunemax, and what they ask."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.search.question.yaml_lines import read_yaml


def packaged() -> dict[str, Path]:
    """Name → study file."""
    return {path.stem: path for path in sorted(Path(str(files("tunemax") / "studies")).glob("*.yaml"))}


def named(what: str) -> Path:
    """A study file as somebody names it: by its path, or one that comes with tunemax by its name.

    Raises TunemaxError for a name that is neither.
    """
    known, path = packaged(), Path(what)
    if what not in known and not path.suffix and not path.exists():
        raise TunemaxError(f"{what}: no such file, and none of that name comes with tunemax{did_you_mean(what, known)}")
    return known.get(what, path)


def asked_by(file: Path) -> tuple[str, bool]:
    """The question of a study file, and whether it is one of agents, which is run with ``tunemax rl study``."""
    data = read_yaml(file).data
    return str(data["question"]), "environment" in data
