"""Every sampler works on our storage, and workers do not repeat each other."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.samplers import Auto, Sampler, Task
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
over_samplers = pytest.mark.parametrize("name", Sampler.known())


def question(**more: Any) -> StudyDefinition:
    return define(
        {"question": "?", "space": SPACE, "pruner": "none", "budget": {"trials": 16, "horizon": 300}, **more}, name="q"
    )


def draw(study: optuna.Study, sampler: BaseSampler) -> dict[str, Any]:
    study.sampler = sampler
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.suggest_float("y", 0, 1)
    study.tell(trial, trial.params["x"])
    return trial.params


@over_samplers
def test_every_sampler_fills_a_whole_budget(tmp_path: Path, name: str) -> None:
    grid = Sampler.known()[name].is_grid
    space = {**SPACE, "learning_rate": [1e-3, 1e-2], "decay_fraction": [0.1, 0.2]} if grid else SPACE
    budget = {"horizon": 300} if grid else {"trials": 16, "horizon": 300}
    options = {"startup": 4} if "startup" in Sampler.known()[name].options() else {}
    definition = question(space=space, budget=budget, sampler={"name": name, **options})
    (fixed,) = definition.siblings().values()
    storage = open_storage(tmp_path / "s.db", create=True)
    study = optuna.create_study(study_name="q", storage=storage)
    enqueue(study, known_points(definition, fixed), definition.budget.trials)
    pruner = definition.pruner.make(definition.budget.horizon)
    with warnings.catch_warnings():
        warnings.simplefilter("error", optuna.exceptions.ExperimentalWarning)
        done = 0
        while trial := claim("q", storage, definition.make_sampler("q", 0, done), pruner):
            values = suggest(trial, definition, fixed)
            trial.study.tell(trial, float(values["learning_rate"]) + float(values["beta1"]))
            done += 1
    assert done == definition.budget.trials == len(study.get_trials(states=(TrialState.COMPLETE,)))
    different = {tuple(sorted(trial.params.items())) for trial in study.get_trials()}
    assert len(different) > done / 2


@over_samplers
def test_workers_and_restarts_do_not_repeat_each_others_points(name: str) -> None:
    sampler, study = Sampler.known()[name](), optuna.create_study()
    tasks = [Task(seed=1, trials=16, worker=worker, begun=begun) for worker, begun in ((0, 0), (1, 0), (0, 7))]
    points = [draw(study, sampler.make(task)) for task in tasks]
    assert len({point["x"] for point in points}) == len(tasks)
    again, other = (draw(optuna.create_study(), sampler.make(Task(seed=seed, trials=16))) for seed in (1, 2))
    assert again == points[0], "the same worker at the same point of a study draws the same"
    assert other != again


def test_auto_is_gp_where_that_is_at_its_best() -> None:
    assert isinstance(Auto().make(Task(seed=1, trials=300)), GPSampler)
    for task in (
        Task(seed=1, trials=301),
        Task(seed=1, trials=9, conditional=True),
        Task(seed=1, trials=9, pruned=True),
    ):
        assert isinstance(Auto().make(task), TPESampler)
    flat = {"learning_rate": "default"}
    assert isinstance(question(sampler="auto", space=flat).make_sampler("q", 0), GPSampler)
    assert isinstance(question(sampler="auto", space=flat, pruner="median").make_sampler("q", 0), TPESampler)
    assert isinstance(question(sampler="auto").make_sampler("q", 0), TPESampler)


def test_conditional_spaces_keep_tpe_in_groups() -> None:
    def grouped(definition: StudyDefinition) -> bool:
        return bool(getattr(definition.make_sampler("q", 0), "_group"))  # noqa: B009 (no public name for it)

    assert grouped(question())
    assert not grouped(question(space={"learning_rate": "default"}))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cmaes" else find(name))
    with pytest.raises(
        TunemaxError, match=r"sampler = cmaes: needs the Python package cmaes; `pip install cmaes`, or take tpe"
    ):
        question(sampler="cmaes").make_sampler("q", 0)
