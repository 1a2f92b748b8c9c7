"""Samplers and pruners by name: they work on our storage, do not repeat each other, and do not prune too early."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.samplers import make_pruner, make_sampler
from tunemax.search.question.strategy import PRUNERS, SAMPLERS, STARTUP
from tunemax.search.question.study_file import define
from tunemax.search.question.suggest import known_points, suggest
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.queue import claim, enqueue

SPACE = {
    "learning_rate": "default",
    "beta1": {"low": 0.8, "high": 0.9, "step": 0.05},
    "schedule": ["wsd", "cosine"],
    "decay_fraction": "default",
}
FLAT = {"learning_rate": "default"}


def question(**more: Any) -> StudyDefinition:
    return define(
        {"question": "?", "space": SPACE, "pruner": "none", "budget": {"trials": 16, "horizon": 300}, **more}, name="q"
    )


def first_points(definition: StudyDefinition, worker: int, trials: int = 0) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=make_sampler(definition, "q", worker, trials))
    (fixed,) = definition.siblings().values()
    found = []
    for _ in range(3):
        trial = study.ask()
        suggest(trial, definition, fixed)
        found.append(trial.params)
    return found


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_fills_a_whole_budget(tmp_path: Path, name: str) -> None:
    space = {**SPACE, "learning_rate": [1e-3, 1e-2], "decay_fraction": [0.1, 0.2]} if name == "grid" else SPACE
    budget = {"horizon": 300} if name == "grid" else {"trials": 16, "horizon": 300}
    definition = question(space=space, budget=budget, sampler={"name": name, "startup": 4} if name in STARTUP else name)
    (fixed,) = definition.siblings().values()
    storage = open_storage(tmp_path / "s.db", create=True)
    study = optuna.create_study(study_name="q", storage=storage)
    enqueue(study, known_points(definition, fixed), definition.budget.trials)
    with warnings.catch_warnings():
        warnings.simplefilter("error", optuna.exceptions.ExperimentalWarning)
        done = 0
        while trial := claim("q", storage, make_sampler(definition, "q", 0, done), make_pruner(definition)):
            values = suggest(trial, definition, fixed)
            trial.study.tell(trial, float(values["learning_rate"]) + float(values["beta1"]))
            done += 1
    assert done == definition.budget.trials == len(study.get_trials(states=(TrialState.COMPLETE,)))
    different = {tuple(sorted(trial.params.items())) for trial in study.get_trials()}
    assert len(different) > done / 2


@pytest.mark.parametrize("name", ["tpe", "random", "gp", "cmaes"])
def test_workers_and_restarts_do_not_repeat_each_others_points(name: str) -> None:
    definition = question(sampler=name)
    points = [first_points(definition, worker, trials) for worker, trials in ((0, 0), (1, 0), (0, 7))]
    assert points[0] == first_points(definition, 0), "the same worker at the same point of a study draws the same"
    assert points[0] != points[1]
    assert points[0] != points[2]
    assert points[0] != first_points(question(sampler=name, seed=2), 0)


def test_conditional_spaces_keep_tpe_in_groups() -> None:
    def grouped(definition: StudyDefinition) -> bool:
        return bool(getattr(make_sampler(definition, "q", 0), "_group"))  # noqa: B009 (no public name for it)

    assert grouped(question())
    assert not grouped(question(space={"learning_rate": "default"}))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cmaes" else find(name))
    with pytest.raises(
        TunemaxError, match=r"sampler = cmaes: needs the Python package cmaes; `pip install cmaes`, or take tpe"
    ):
        make_sampler(question(sampler="cmaes"), "q", 0)


def pruned_at(definition: StudyDefinition, curve: dict[int, float]) -> int | None:
    """Where a trial with this curve is stopped, after eight with a far better one."""
    study = optuna.create_study(pruner=make_pruner(definition))
    for _ in range(8):
        trial = study.ask()
        for step in curve:
            trial.report(1.0, step)
            trial.should_prune()
        study.tell(trial, 1.0)
    trial = study.ask()
    for step, value in curve.items():
        trial.report(value, step)
        if trial.should_prune():
            return step
    return None


@pytest.mark.parametrize(
    ("pruner", "stops"),
    [
        ("none", None),
        ("median", 100),
        ("asha", 100),
        ({"name": "median", "warmup": 0.5}, 150),
        ({"name": "asha", "warmup": 0.6}, 200),
    ],
)
def test_nothing_is_pruned_before_its_first_rung(pruner: Any, stops: int | None) -> None:
    assert pruned_at(question(pruner=pruner, space=FLAT), dict.fromkeys(range(50, 300, 50), 9.0)) == stops


@pytest.mark.parametrize("name", PRUNERS)
def test_the_best_trial_is_never_pruned(name: str) -> None:
    assert pruned_at(question(pruner=name, space=FLAT), dict.fromkeys(range(50, 300, 50), 0.5)) is None


def test_median_waits_for_finished_trials() -> None:
    assert pruned_at(question(pruner={"name": "median", "startup": 9}, space=FLAT), {100: 9.0, 200: 9.0}) is None
