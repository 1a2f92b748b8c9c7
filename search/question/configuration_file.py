"""One configuration in a file: that of a run, or flat names with values, as YAML or JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydantic

from tunemax.gpt import plugins
from tunemax.gpt.config import PARTS, PLACES, Config, all_specs, changed, resolve
from tunemax.gpt.defaults import of_their_time
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.plugins import PluginRecord
from tunemax.gpt.record import CONFIG
from tunemax.search.question.yaml_lines import read_yaml


def read_configuration(file: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration in a file: a run's, in its folder, or flat names with values, as YAML or JSON.

    Where a run's files went is left out. given: what will stand over them. Raises TunemaxError for what is neither, and
    for a field that means nothing, unless a run has it or what is given has ruled it out.
    """
    written = file / CONFIG if file.is_dir() else file
    located = read_yaml(written)
    data = located.data
    is_run = isinstance(data, dict) and isinstance(data.get("config"), dict)
    if not isinstance(data, dict):
        raise TunemaxError(f"{file}: expected fields with their values, as in `n_layer: 4`, or the folder of a run")
    if "question" in data:
        raise TunemaxError(f"{file}: a study file; run it with {shlex.join(['tunemax', 'study', 'run', str(file)])}")
    if is_run and (reasons := plugins.missing(_records(data.get("plugins")))):
        raise TunemaxError(f"{file}: {reasons[0]}")
    fields = {**of_their_time(data["config"]), **dict.fromkeys(PLACES, "")} if is_run else data

    @contextmanager
    def at(name: str) -> Iterator[None]:
        try:
            yield
        except TunemaxError as error:
            line = located.line(("config", name) if is_run else (name,))
            raise TunemaxError(f"{written}:{line}: {error}") from None

    for name, value in fields.items():
        with at(name):
            checked = all_specs()[resolve(name)].check(value)
            if name in PARTS:
                PARTS[name].find(checked)
    if not is_run:
        config, over = Config.of(changed(fields, given)), set(map(resolve, given))
        for name, value in fields.items():
            with at(name):
                if not all_specs()[resolve(name)].depends_on & over:
                    config.check_meant({name: value})
    return fields


def _records(written: Any) -> tuple[PluginRecord, ...]:
    """The plug-ins of a run; what cannot be read says nothing."""
    try:
        return pydantic.TypeAdapter(tuple[PluginRecord, ...]).validate_python(written or ())
    except pydantic.ValidationError:
        return ()
