"""The plug-ins that a study file names: whoever passes the file has named them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tunemax.gpt import plugins
from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.dimension import shown
from tunemax.search.question.yaml_lines import Located

KEY = "plugins"
"""Of a study file: it says what the rest is read with, and is no part of what is asked."""
BY = "study file"


def without_plugins(file: Path, located: Located) -> Any:
    """The data of a study file but for its plug-ins, which are loaded. A path is that of a file beside the study file.

    Raises TunemaxError, with the line of the study file, for one that cannot be.
    """
    data = located.data
    if not isinstance(data, dict) or KEY not in data:
        return data
    named = data[KEY]
    if not isinstance(named, list) or not all(isinstance(each, str) and each for each in named):
        expected = "expected a list of Python files and modules, such as [my_variant.py]"
        raise TunemaxError(f"{file}:{located.line((KEY,))}: {KEY}: {shown(named)}, {expected}")
    for index, each in enumerate(named):
        try:
            plugins.load(_beside(file, each), BY)
        except TunemaxError as error:
            raise TunemaxError(f"{file}:{located.line((KEY, index))}: {KEY}: {error}") from error
    return {key: value for key, value in data.items() if key != KEY}


def _beside(file: Path, named: str) -> str:
    """As it is named from anywhere: a path leads on from the study file, a module stays what it is."""
    is_path = named.endswith(".py") or os.sep in named
    return os.path.join(os.path.abspath(file.parent), os.path.expanduser(named)) if is_path else named
