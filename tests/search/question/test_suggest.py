"""The space as Optuna sees it: what is asked, in which order, and what is never asked."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.fields import Above
from tunemax.gpt.softmax import variants
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import OWNED, conditional
from tunemax.search.question.study_file import define
from tunemax.search.question.suggest import distributions, known_points, suggest


def question(space: dict[str, Any], base: dict[str, Any] | None = None, **more: Any) -> StudyDefinition:
    data = {"question": "?", "base": base or {}, "space": space, "budget": {"trials": 4, "horizon": 20}, **more}
    return define(data, name="q")


def drawn(definition: StudyDefinition, count: int = 30) -> list[tuple[optuna.Trial, dict[str, Any]]]:
    """Trials of a random sampler in the first sibling, and what `suggest` made of them."""
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    fixed = next(iter(definition.siblings().values()))
    trials = [study.ask() for _ in range(count)]
    return [(trial, suggest(trial, definition, fixed)) for trial in trials]


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, spec in all_specs().items()
        if name not in OWNED and spec.declared.search is not None and spec.declared.identity
    ],
)
def test_every_declared_dimension_can_be_searched(name: str) -> None:
    spec = all_specs()[name]
    conditions = {
        other: allowed[0]
        for condition in (spec.when, *spec.any_of[:1])
        for other, allowed in condition.items()
        if not isinstance(allowed, Above)  # as by default
    }
    start = {"strongermax.obo": 1.0} if name == "strongermax.learn_obo" else {}  # its default, 0, cannot be learned
    start |= {"mup_base_width": 32}  # without it there is no muP
    start |= {"n_head": 2} if name == "fractal_split" else {}  # four heads of 16 cannot be cut into fours
    fed = {"feedback_share": 0.25, "feedback_every": 5} if name.startswith("feedback_") else {}
    start |= {other: value for other, value in fed.items() if other != name}
    horizon = 2000 if name == "feedback_every" else 20  # it has to be written before the end
    budget = {"trials": 4, "horizon": horizon, "equal": "iterations"}
    definition = question({name: "default"}, {**conditions, **start}, pruner="none", budget=budget)
    (fixed,) = definition.siblings().values()
    assert list(distributions(definition, fixed)) == [name]
    for trial, values in drawn(definition, 5):
        config = Config.of(values)
        assert trial.params == {name: config.flat()[name]}
        assert config.train.max_iters == horizon


def test_kinds_of_dimensions_become_kinds_of_distributions() -> None:
    definition = question(
        {
            "learning_rate": {"low": 1e-3, "high": 0.1},
            "beta1": {"low": 0.8, "high": 0.9, "step": 0.05},
            "n_layer": {"low": 1, "high": 5, "step": 2},
            "batch_size": {"low": 1, "high": 64, "log": True},
            "bias": [True, False],
        },
        budget={"trials": 4, "horizon": 20, "equal": "iterations"},
    )
    (fixed,) = definition.siblings().values()
    assert distributions(definition, fixed) == {
        "learning_rate": FloatDistribution(1e-3, 0.1, log=True),
        "beta1": FloatDistribution(0.8, 0.9, step=0.05),
        "n_layer": IntDistribution(1, 5, step=2),
        "batch_size": IntDistribution(1, 64, log=True),
        "bias": CategoricalDistribution((True, False)),
    }
    for trial, _values in drawn(definition):
        assert trial.distributions == distributions(definition, fixed)
        assert type(trial.params["n_layer"]) is int
        assert trial.params["n_layer"] in (1, 3, 5)


def test_conditional_fields_are_asked_after_their_condition_and_only_when_they_mean_something() -> None:
    definition = question(
        {
            "decay_fraction": "default",
            "constantmax.gamma_form": "default",
            "constantmax.learn_gamma": [True, False],
            "schedule": ["wsd", "constant"],
            "softmax_variant": ["constantmax", "softmax"],
        },
        pruner="none",
    )
    assert conditional(definition.dimensions(next(iter(definition.siblings().values()))))
    seen = set()
    for trial, values in drawn(definition, 60):
        asked = trial.params
        assert ("decay_fraction" in asked) == (asked["schedule"] == "wsd")
        assert ("constantmax.learn_gamma" in asked) == (asked["softmax_variant"] == "constantmax")
        assert ("constantmax.gamma_form" in asked) == asked.get("constantmax.learn_gamma", False)
        assert set(asked) <= Config.of(values).active().keys()
        seen.add(frozenset(asked))
    assert len(seen) == 6, "not every combination of conditions was drawn"


def test_siblings_search_what_means_something_in_them() -> None:
    space = {
        "learning_rate": "default",
        **{f"{name}.{field}": "default" for name, field in (("constantmax", "beta"), ("polymax", "power"))},
    }
    definition = question(space, per="softmax_variant", compare=["softmax", "constantmax", "polymax"])
    found = {name: list(distributions(definition, fixed)) for name, fixed in definition.siblings().items()}
    assert found == {
        "q/softmax": ["learning_rate"],
        "q/constantmax": ["learning_rate", "constantmax.beta"],
        "q/polymax": ["learning_rate", "polymax.power"],
    }
    assert not any(conditional(definition.dimensions(fixed)) for fixed in definition.siblings().values())


def test_known_points_are_the_baselines_that_the_space_can_reach() -> None:
    both = question({"constantmax.beta": "default", "constantmax.gamma": "default"}, {"softmax_variant": "constantmax"})
    (fixed,) = both.siblings().values()
    paper = {"constantmax.beta": 1.0, "constantmax.gamma": 125.0}
    assert known_points(both, fixed) == [{"constantmax.beta": 2.5, "constantmax.gamma": 100.0}, paper]

    narrow = question(
        {"constantmax.beta": {"low": 2, "high": 3}, "learning_rate": {"low": 0.01, "high": 0.1}},
        {"softmax_variant": "consmax"},
    )
    (fixed,) = narrow.siblings().values()
    rates = [{"constantmax.beta": 2.5, "learning_rate": 0.0316}]
    assert known_points(narrow, fixed) == rates, "β = 1 lies outside, and so does the default learning rate"

    for ends in ({"low": 1, "high": 2.5}, {"low": 1, "high": 3}):
        at_ends = question({"constantmax.beta": ends}, {"softmax_variant": "constantmax", "constantmax.gamma": 125})
        (fixed,) = at_ends.siblings().values()
        assert {"constantmax.beta": 1.0} in known_points(at_ends, fixed), "an end belongs to its range"

    elsewhere = question({"constantmax.beta": "default"}, {"softmax_variant": "constantmax", "constantmax.gamma": 50})
    (fixed,) = elsewhere.siblings().values()
    assert known_points(elsewhere, fixed) == [{"constantmax.beta": 2.5}], (
        "γ is fixed at 50, so the paper's setting is out of reach"
    )


@pytest.mark.parametrize("name", variants())
def test_every_variant_has_a_known_point_that_trains(name: str) -> None:
    own = {
        field: "default"
        for field, spec in all_specs().items()
        if field.startswith(f"{name}.") and spec.declared.search is not None
    }
    if name == "strongermax":
        own["strongermax.obo"] = {"low": 0.1, "high": 2}  # type: ignore[assignment]
    definition = question({"learning_rate": "default", **own}, {"softmax_variant": name})
    (fixed,) = definition.siblings().values()
    study = optuna.create_study()
    for params in known_points(definition, fixed):
        study.enqueue_trial(params)
        trial = study.ask()
        assert Config.of(suggest(trial, definition, fixed)).model.softmax_variant == name
        assert params.items() <= trial.params.items()
    assert study.trials


def test_grid_points_come_once_each() -> None:
    space = {
        "schedule": ["wsd", "constant"],
        "decay_fraction": {"low": 0.1, "high": 0.3, "step": 0.1},
        "n_head": [1, 2],
    }
    definition = question(space, sampler="grid", pruner="none", budget={"horizon": 20})
    (fixed,) = definition.siblings().values()
    points = known_points(definition, fixed)
    assert definition.budget.trials == len(points) == 8, "decay_fraction means nothing beside schedule constant"
    assert {point["decay_fraction"] for point in points if point["schedule"] == "wsd"} == {0.1, 0.2, 0.3}
    assert len({tuple(sorted(point.items())) for point in points}) == 8
    study = optuna.create_study()
    for point in points:
        study.enqueue_trial(point)
        trial = study.ask()
        suggest(trial, definition, fixed)
        assert trial.params == point
