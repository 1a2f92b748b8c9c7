"""The two sides of a judgement: the configurations that words name, made comparable."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunemax.gpt import checkpoint
from tunemax.gpt.config import PLACES, Config, all_specs, changed, resolve
from tunemax.gpt.data.sources import DATASETS
from tunemax.gpt.defaults import of_their_time
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.paths import path_typed
from tunemax.gpt.record import CONFIG, recorded
from tunemax.search.question.budget import VOCABULARY
from tunemax.search.question.candidates import TAKEN
from tunemax.search.question.configuration_file import read_configuration
from tunemax.search.question.dimension import shown
from tunemax.search.question.packaged import packaged
from tunemax.search.question.revisions import AT, Revised, is_plugin, revised
from tunemax.search.question.stages import is_name
from tunemax.search.question.study_file import load_study_file, placed
from tunemax.search.question.yaml_lines import read_yaml
from tunemax.search.results.trained import find, numbered
from tunemax.search.storage.lookup import storage_of
from tunemax.search.storage.paths import databases
from tunemax.search.storage.questions import holds, load_from

FILES = (".yaml", ".yml", ".json")
"""How the names of files end that are read as fields, or as a study file."""
OURS = ("seed", "eval_slice", *PLACES)
"""Fields that a judgement decides itself, whatever a side has."""

What = str | os.PathLike[str] | Mapping[str, Any]
"""What may be judged: a word as `side` reads it, or flat fields with their values."""


@dataclass(frozen=True)
class Side:
    """One of the two."""

    name: str
    """As a candidate."""
    word: str
    """As it was named."""
    config: Config
    data: str | None
    """Fingerprint of the text that it was trained on; None if it was not trained, or is to be on another."""
    notes: tuple[str, ...] = ()
    """What should be known of how the word was read."""


@dataclass(frozen=True)
class _Read:
    """Fields as a word has them, before it is known what stands over them."""

    name: str
    word: str
    fields: Mapping[str, Any]
    data: str | None = None
    notes: tuple[str, ...] = ()


def sides(a: What, b: What, given: Mapping[str, Any], where: str | None = None) -> tuple[Side, Side]:
    """Both sides of a judgement.

    given: fields that hold for both. where: the storage of trials; by default as the command line finds it. A word is a
    YAML or JSON file of fields, the folder of a run, a checkpoint, a trial (``question/candidate`` or ``…#7``), a study
    file's candidate (``my.yaml/plain``, ``modern/plain``), or a plug-in (``my.py``, ``my.py@REVISION``), which stands
    for the other side with the plug-in's parts in it.

    Raises TunemaxError for what is neither, and for sides that are no two trainings of one text and horizon.
    """
    first, second = _read(a, where), _read(b, where)
    if isinstance(first, Revised) and isinstance(second, Revised):
        base = _Read("", "", {})
        first, second = _with(base, first, given), _with(base, second, given)
    elif isinstance(first, Revised):
        assert isinstance(second, _Read)
        first = _with(second, first, given)
    elif isinstance(second, Revised):
        second = _with(first, second, given)
    assert isinstance(first, _Read)
    assert isinstance(second, _Read)
    names = _named(first.name, second.name)
    a_side, b_side = (_side(read, name, given) for read, name in zip((first, second), names, strict=True))
    for key, value in given.items():
        if resolve(key) not in b_side.config.active():  # a part that only one side has may be given a value
            a_side.config.check_meant({key: value})
    _check_alike(a_side, b_side)
    return a_side, b_side


def _side(read: _Read, name: str, given: Mapping[str, Any]) -> Side:
    try:
        config = Config.of(changed(read.fields, given))
    except TunemaxError as error:
        raise TunemaxError(f"{read.word or 'fields'}: {error}") from error
    retold = any(resolve(key) in ("dataset", "data_start", "data_end") for key in given)
    return Side(name, read.word, config, None if retold else read.data, read.notes)


def _check_alike(a: Side, b: Side) -> None:
    """Raise TunemaxError for what a pair of runs must share."""
    ours, theirs = a.config.train, b.config.train
    if ours.dataset != theirs.dataset:
        texts = f"{a.name} is of {ours.dataset} and {b.name} of {theirs.dataset}"
        raise TunemaxError(f"dataset: {texts}; losses on two texts are not compared: say --dataset for both")
    if a.data and b.data and a.data != b.data:
        texts = f"{a.name} was trained on {ours.dataset} as it was when its fingerprint was {a.data[:12]}"
        other = f"{b.name} on another state of it, or with other tokens ({b.data[:12]})"
        raise TunemaxError(f"{texts}, {other}; say --dataset {ours.dataset} to train both on what it is now")
    if ours.max_iters != theirs.max_iters:
        horizons = f"{a.name} trains {ours.max_iters:,} iterations and {b.name} {theirs.max_iters:,}"
        raise TunemaxError(f"max_iters: {horizons}; say --max_iters for both")
    for name in ("eval_by", "eval_tokens", "eval_iters", "divergence_margin"):
        one, other = getattr(ours, name), getattr(theirs, name)
        if one != other and all(name in side.config.active() for side in (a, b)):
            measured = f"{a.name} has {shown(one)} and {b.name} {shown(other)}"
            raise TunemaxError(f"{name}: {measured}, so they would be measured differently; say --{name} for both")


def check_same_text(a: Side, b: Side, here: str) -> None:
    """Raise TunemaxError if one of the sides was trained on another text than there is here.

    here: fingerprint of the text that both would be trained on.
    """
    for side in (a, b):
        if side.data and side.data != here:
            dataset = side.config.train.dataset
            then = f"was trained on {dataset} with fingerprint {side.data[:12]}, which is {here[:12]} here"
            raise TunemaxError(f"{side.word}: {then}; say --dataset {dataset} to judge on what it is now")


# ---------------------------------------------------------------------------------------------------- what words name


def _read(what: What, where: str | None) -> _Read | Revised:
    if isinstance(what, Mapping):
        return _Read("", "", dict(what))
    word = os.fspath(what)
    path = path_typed(word)
    if is_plugin(word):
        return revised(word)
    if path.suffix.lower() in FILES and (path.is_file() or not path.parent.suffix):
        return _of_file(word, path)
    if path.parent.suffix.lower() in FILES and path.parent.is_file():
        return _of_study_file(word, path.parent, path.name)
    if (path / CONFIG).is_file():
        return _Read(_last(word), word, of_their_time(find(word).fields), recorded(path).data)
    if path.is_file():
        return _Read(_last(word), word, of_their_time(find(word).fields), checkpoint.heading(path).data)
    question, _, candidate = word.partition("/")
    if candidate and question in packaged() and not holds(where or storage_of(question), question):
        return _of_study_file(word, packaged()[question], candidate)
    return _of_trial(word, where)


def _of_file(word: str, path: Path) -> _Read:
    if candidates := _study(path):
        raise TunemaxError(f"{word}: a study file; name one of its candidates, such as {word}/{candidates[0]}")
    fields = read_configuration(path, {})
    data = fields.get("dataset")
    if isinstance(data, str) and data not in DATASETS:
        fields = {**fields, "dataset": placed(data, path.parent)}
    return _Read(path.stem, word, fields)


def _study(path: Path) -> list[str]:
    """The candidates of a study file; empty for another file."""
    data = read_yaml(path).data
    if not (isinstance(data, dict) and "question" in data):
        return []
    definition = load_study_file(path)
    return [name.rpartition("/")[2] for name in definition.siblings()]


def _of_study_file(word: str, file: Path, candidate: str) -> _Read:
    definition = load_study_file(file)
    siblings = {name.rpartition("/")[2]: fixed for name, fixed in definition.siblings().items()}
    if candidate not in siblings:
        raise TunemaxError(f"{word}: {file} has no candidate {candidate}{did_you_mean(candidate, siblings)}")
    fixed = siblings[candidate]
    fields = definition.begin(fixed)
    searched = [name for name in definition.dimensions(fixed) if name in Config.of(fields).active()]
    if "max_iters" not in fixed and definition.budget.seconds is None:
        fields["max_iters"] = definition.budget.iterations(Config.of(fields), VOCABULARY)
    told = [f"{name} {shown(fields[name])}" for name in searched]
    notes = (f"{word}: what its study searches is at its default: {', '.join(told)}",) if told else ()
    return _Read(candidate, word, fields, notes=notes)


def _of_trial(word: str, where: str | None) -> _Read:
    if where is None and not databases():
        kinds = "a file of fields (.yaml, .json), a run's folder, a checkpoint, a plug-in (.py), FILE.yaml/CANDIDATE"
        raise TunemaxError(
            f"{word}: no such file or folder, and there is no database of studies here; expected {kinds}"
        )
    found, study = find(word, where), numbered(word)[0]
    owner = load_from(where or storage_of(study), study.partition("/")[0])
    label = found.name.rpartition("/")[2].replace("#", "-") if "#" in word else found.name.rpartition("/")[2]
    name = label if "#" in word else label.partition("#")[0]
    return _Read(name, word, of_their_time(found.fields), owner.definition.fingerprint)


def _with(other: _Read, plugin: Revised, given: Mapping[str, Any]) -> _Read:
    """A side that is the other one with the parts of a plug-in in it."""
    over = {key: value for key, value in given.items() if resolve(key) in all_specs()}
    fields = plugin.within(changed(other.fields, over))
    named = plugin.word.rpartition("/")[2].replace(".py", "").replace(AT, "-at-")
    return _Read(named, plugin.word, fields, other.data, other.notes)


def _last(word: str) -> str:
    """The last part of a path that says something."""
    parts = [part for part in Path(word).with_suffix("").parts if part not in ("/", "..", "checkpoint", "weights")]
    return parts[-1] if parts else word


def _named(first: str, second: str) -> tuple[str, str]:
    """Names of candidates: what the words end with, as far as that can be a name."""

    def tidy(word: str, otherwise: str) -> str:
        name = re.sub(r"[^a-z0-9_-]+", "-", word.lower()).strip("-")[:40]
        return name if is_name(name) and name != TAKEN else otherwise

    a, b = tidy(first, "a"), tidy(second, "b")
    return (a, b) if a != b else (f"{a}-a", f"{b}-b")
