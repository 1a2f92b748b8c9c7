"""Trials that train on although the pruner would stop them: which they are, and that nothing else about them is
different."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.search import objective, open_study
from tunemax.search.question.changes import joined
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.results.leaderboard import leaderboard
from tunemax.search.storage import attributes
from tunemax.search.storage.questions import Question
from tunemax.search.workers.events import Event, Reported
from tunemax.search.workers.trial import spares

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
RATES = [3e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5]


def plan(spared: float, **pruner: Any) -> dict[str, Any]:
    """Six trials, each worse than all before: every one but the first is stopped at 20 unless it is spared."""
    return {
        "compare": ["softmax"],
        "pruner": {"name": "median", "startup": 1, "spared": spared, **pruner},
        "space": {"learning_rate": RATES},
        "sampler": "grid",
        "budget": {"trials": 6, "horizon": 40},
    }


def trials(question: Question) -> list[FrozenTrial]:
    return question.trials()["q/softmax"]


def told(question: Question) -> list[Any]:
    return [
        (trial.state, trial.value, trial.intermediate_values, trial.user_attrs.get(attributes.SPARED))
        for trial in trials(question)
    ]


def test_spared_trials_train_to_the_horizon_and_say_where_they_would_have_stopped(ask: Ask, work: Work) -> None:
    question = ask(**plan(1.0))
    work(question, slots=1)
    assert [trial.state for trial in trials(question)] == [TrialState.COMPLETE] * 6
    assert [trial.user_attrs.get(attributes.SPARED) for trial in trials(question)] == [None, 20, 20, 20, 20, 20]
    assert [trial.system_attrs.get(attributes.SPARED_SHARE) for trial in trials(question)] == [
        None,
        1.0,
        1.0,
        1.0,
        1.0,
        1.0,
    ]
    assert [trial.user_attrs[attributes.ITERATIONS] for trial in trials(question)] == [40] * 6
    assert leaderboard(question).entries[0].complete == 6


def test_without_a_share_none_is_spared(ask: Ask, work: Work) -> None:
    question = ask(**plan(0.0))
    work(question, slots=1)
    assert [attributes.state(trial) for trial in trials(question)] == ["complete"] + ["pruned"] * 5


def test_which_are_spared_is_drawn_by_seed_study_and_number(ask: Ask, work: Work) -> None:
    question = ask(**plan(0.5))
    work(question, slots=1)
    expected = [0] + [number for number in range(1, 6) if spares(question.definition, "q/softmax", number)]
    assert [trial.number for trial in trials(question) if trial.state == TrialState.COMPLETE] == expected
    assert 1 < len(expected) < 6, "choose another share: here all or none"


def test_the_share_is_kept_and_other_studies_and_seeds_draw_others(defined: Callable[..., StudyDefinition]) -> None:
    study, other = (
        defined(pruner={"name": "asha", "spared": 0.2}),
        defined(pruner={"name": "asha", "spared": 0.2}, seed=2),
    )
    drawn = [[spares(study, "a", n) for n in range(4000)], [spares(study, "b", n) for n in range(4000)]]
    drawn.append([spares(other, "a", n) for n in range(4000)])
    for each in drawn:
        assert 4000 * 0.2 - 80 < sum(each) < 4000 * 0.2 + 80  # about three standard deviations
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


def test_stopped_again_and_again_the_same_trials_are_spared(
    ask: Ask, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunemax.search.workers.worker.EVERY", 0.0)
    undisturbed = ask(**plan(0.5), name="other")
    work(undisturbed, slots=1)
    curves = [trial.intermediate_values for trial in undisturbed.trials()["other/softmax"]]
    question, stops = ask(**plan(0.5)), 0
    while any(trial.state == TrialState.WAITING for trial in trials(question)):
        seen: list[Event] = []
        work(
            question,
            slots=1,
            on=lambda event, seen=seen: seen.append(event) if isinstance(event, Reported) else None,
            stopping=lambda seen=seen: bool(seen),
        )
        stops += 1
    assert stops > 6
    spared = [number for number in range(1, 6) if spares(question.definition, "q/softmax", number)]
    for trial, curve in zip(trials(question), curves, strict=True):
        assert (trial.user_attrs.get(attributes.SPARED) == 20) == (trial.number in spared)
        assert (trial.state == TrialState.COMPLETE) == (trial.number in [0, *spared])
        both = trial.intermediate_values.keys() & curve.keys()
        assert {step: trial.intermediate_values[step] for step in both} == {step: curve[step] for step in both}


def test_plain_optimize_spares_the_same(ask: Ask, work: Work, where: str) -> None:
    worked = ask(**plan(0.5))
    work(worked, slots=1)
    expected = told(worked)
    ask(**plan(0.5), name="q2")
    study = open_study("q2/softmax", where)
    study.optimize(objective(study), n_trials=6)
    ours = [number for number in range(1, 6) if spares(worked.definition, "q2/softmax", number)]
    for trial, (_, _, curve, _) in zip(study.get_trials(), expected, strict=True):
        assert (trial.state == TrialState.COMPLETE) == (trial.number in [0, *ours])
        assert trial.intermediate_values[20] == curve[20]


def test_a_stored_definition_from_before_spares_none_and_may_be_changed(
    defined: Callable[..., StudyDefinition],
) -> None:
    for pruner, expected in (("median", 0.0), ("asha", 0.0), ("none", 0.1)):
        study = defined(pruner=pruner)
        plain = json.loads(study.to_json())
        del plain["pruner"]["spared"], plain["pruner"]["cooled"]
        old = StudyDefinition.from_json(json.dumps(plain))
        assert (old.pruner.spared, old.pruner.cooled) == (expected, False)
        assert StudyDefinition.from_json(old.to_json()) == old
        assert StudyDefinition.from_json(study.to_json()) == study
        assert joined(old, study) == study
        assert (old != study, old.pruner != study.pruner) == (pruner != "none", pruner != "none")


def test_cooled_rungs_and_others_are_not_mixed(defined: Callable[..., StudyDefinition]) -> None:
    base = {"schedule": "wsd"}
    studies = {
        name: defined(base=base, pruner=pruner, budget={"horizon": 300})
        for name, pruner in {
            "cooled": {"name": "asha", "cooled": True},
            "asha": "asha",
            "median": "median",
            "none": "none",
        }.items()
    }
    refused = set()
    for old, new in itertools.product(studies, repeat=2):
        try:
            joined(studies[old], studies[new])
        except TunemaxError:
            refused.add((old, new))
    assert refused == {("cooled", "asha"), ("asha", "cooled"), ("cooled", "median"), ("median", "cooled")}
