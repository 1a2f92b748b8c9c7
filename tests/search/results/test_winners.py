"""A winner can be trained again: as fields, and as the command that is printed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Range
from tunemax.gpt.softmax import variants
from tunemax.search.cli.command_line import build
from tunemax.search.cli.flags import config_from
from tunemax.search.results.trained import find
from tunemax.search.storage import attributes
from tunemax.search.storage.attributes import outcomes
from tunemax.search.storage.commands import training
from tunemax.search.storage.questions import Question

Ask = Callable[..., Question]


def fields(where: str, study: str, number: int | None = None) -> dict[str, Any]:
    return dict(find(study, where, number).fields)


def recorded(config: Config) -> dict[str, Any]:
    return dict(json.loads(json.dumps(config.flat())))


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Some fields of some variant anywhere in their search ranges."""
    variant = draw(st.sampled_from(sorted(variants())))
    values: dict[str, Any] = {"softmax_variant": variant}
    own = [
        spec
        for name, spec in all_specs().items()
        if spec.declared.search and ("." not in name or name.startswith(f"{variant}."))
    ]
    for spec in draw(st.lists(st.sampled_from(own), unique_by=lambda spec: spec.name, max_size=12)):
        search = spec.declared.search
        if spec.name in ("softmax_variant", "n_head", "n_embd"):
            continue
        if isinstance(search, Range):
            strategy = (
                st.integers(int(search.low), int(search.high))
                if spec.annotation is int
                else st.floats(search.low, search.high)
            )
            values[spec.name] = draw(strategy)
        else:
            values[spec.name] = draw(st.sampled_from(search.values))
    try:
        return Config.of(values)
    except TunemaxError:  # two of them do not go together
        reject()


@given(configs())
def test_the_command_names_the_same_training(config: Config) -> None:
    words = training(recorded(config))
    assert words[:2] == ["tunemax", "train"]
    typed = Config.of(config_from(build().parse_args(words[1:])))
    assert typed.identity == config.identity
    assert typed.active() == config.active()


def test_the_command_leaves_out_defaults() -> None:
    config = Config.of({"softmax_variant": "constantmax", "constantmax.beta": -1.5, "bias": True, "tie_weights": False})
    line = "tunemax train --bias --no-tie_weights --softmax_variant constantmax --constantmax.beta -1.5"
    assert shlex.join(training(recorded(config))) == line


def test_a_trial_of_somebody_else_has_no_configuration_to_train(ask: Ask) -> None:
    study = ask(compare=["softmax"]).study("q/softmax")
    study.tell(study.ask(), 0.5)
    assert outcomes(study.get_trials()) == []


@pytest.fixture
def finished(ask: Ask, work: Callable[..., Any]) -> Question:
    question = ask()
    work(question)
    return question


def test_a_question_gives_the_best_of_all_its_candidates(finished: Question, where: str) -> None:
    best = {name: finished.study(name).best_trial for name in finished.siblings}
    winner = min(best.values(), key=lambda trial: trial.value or 0.0)
    assert fields(where, "q") == json.loads(winner.system_attrs[attributes.CONFIG])
    for name, trial in best.items():
        assert fields(where, name) == json.loads(trial.system_attrs[attributes.CONFIG])
        assert fields(where, name, trial.number) == fields(where, f"{name}#{trial.number}") == fields(where, name)


def test_a_better_trial_without_a_configuration_is_passed_over(finished: Question, where: str) -> None:
    before = fields(where, "q/softmax")
    study = finished.study("q/softmax")
    study.tell(study.ask(), 0.0)
    assert fields(where, "q/softmax") == before


@pytest.mark.parametrize(
    ("study", "number", "told"),
    [
        ("q/softmx", None, r"study q/softmx: not in this storage; did you mean `q/softmax`\?"),
        ("q", 1, r"q#1: q has 2 studies; name one: q/softmax"),
        ("q/softmax", 7, r"q/softmax#7: q/softmax has 4 trials, numbered from 0"),
        ("q/softmax", 3, r"q/softmax#3: waiting, its configuration is not recorded; take another trial"),
    ],
)
def test_what_is_not_there_is_said(finished: Question, where: str, study: str, number: int | None, told: str) -> None:
    finished.study("q/softmax").enqueue_trial({})
    with pytest.raises(TunemaxError, match=told):
        fields(where, study, number)


def test_before_the_first_result_the_remedy_is_named(ask: Ask, where: str) -> None:
    ask()
    with pytest.raises(TunemaxError, match="q/softmax: no trial is complete yet; run it with tunemax study run q"):
        fields(where, "q/softmax")
