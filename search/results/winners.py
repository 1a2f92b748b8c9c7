"""A study's winner as a configuration to train again: as flat fields, and as a command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from optuna.trial import TrialState

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.search.storage.attributes import CONFIG, Outcome, outcomes
from tunemax.search.storage.database import open_storage, study_id
from tunemax.search.storage.questions import load, questions


def fields(where: str, study: str, number: int | None = None) -> Mapping[str, Any]:
    """Flat fields of a study's best trial, or of the one with this number. Raises TunemaxError.

    study: a study's name, or a question's: then the best of all its candidates.
    """
    storage = open_storage(where, create=False)
    known = questions(storage)
    names = list(load(storage, study).siblings) if study in known else [study]
    of = next(
        (load(storage, question).definition.confirms for question, studies in known.items() if names[0] in studies),
        None,
    )
    if of and number is None:
        raise TunemaxError(
            f"{study}: a confirmation has no best trial, only lucky seeds; name what it confirms: {of.question}"
        )
    trials = [trial for name in names for trial in storage.get_all_trials(study_id(storage, name), deepcopy=False)]
    if number is not None:
        if len(names) > 1:
            raise TunemaxError(f"--trial {number}: {study} has {len(names)} studies; name one, such as {names[0]}")
        chosen = next((trial for trial in trials if trial.number == number), None)
        if chosen is None:
            raise TunemaxError(f"--trial {number}: {study} has {len(trials)} trials, numbered from 0")
        if CONFIG not in chosen.system_attrs:
            raise TunemaxError(
                f"--trial {number}: {chosen.state.name.lower()}, its configuration is not recorded; take another trial"
            )
        return dict(json.loads(chosen.system_attrs[CONFIG]))
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    ranked = [found for found in outcomes(complete) if found.config is not None]
    if not ranked:
        raise TunemaxError(
            f"{study}: no trial is complete yet; run it with tunemax study run {study.partition('/')[0]}"
        )
    assert ranked[0].config is not None
    return ranked[0].config


def command(found: Outcome) -> list[str]:
    """The words of a command that trains this trial's configuration again; defaults are left out."""
    if found.config is None:
        return []
    words = ["tunemax", "train"]
    for name, value in Config.of(found.config).active().items():
        if value != all_specs()[name].default:
            words += (
                [f"--{name}" if value else f"--no-{name}"] if isinstance(value, bool) else [f"--{name}", str(value)]
            )
    return words


def shell(words: list[str]) -> str:
    """The words as one line for a shell."""
    return shlex.join(words) if words else "told by somebody else: its configuration is not recorded"
