"""Studies whose trials do other work in an iteration say what is held equal, or are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.cost import Cost
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Above
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import OWNED, extremes
from tunemax.search.question.study_file import define
from tunemax.search.question.work import lengths
from tunemax.search.question.yaml_lines import Fault

BASE = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 32, "batch_size": 8, "mup_base_width": 16}
SEARCHABLE = [
    name
    for name, spec in all_specs().items()
    if name not in OWNED and spec.declared.search is not None and spec.declared.identity
]
BESIDE: dict[str, dict[str, Any]] = {
    "strongermax.learn_obo": {"strongermax.obo": 1.0},
    "attention": {"n_head": 4, "n_kv_head": 2, "head_dim": 16},
    "window": {"block_size": 128},
    "mlp_compensates": {"attention": "multi_query"},
}
"""Without it the field is not possible, or some of its values train the same as others."""
SAID: list[dict[str, Any]] = [
    {"horizon": 500, "equal": "iterations"},
    {"tokens": 1e6},
    {"flops": 1e12},
    {"seconds": 10},
]


def study(space: dict[str, Any], base: dict[str, Any] | None = None, **more: Any) -> StudyDefinition:
    fixed = {name: value for name, value in {**BASE, **(base or {})}.items() if name not in (*space, more.get("per"))}
    data = {"question": "?", "base": fixed, "space": space, "pruner": "none", "budget": {"horizon": 500}, **more}
    data["budget"] = {"trials": 4, **data["budget"]}
    return define(data, name="q")


def conditions(name: str) -> dict[str, Any]:
    """Values of other fields beside which this one means something."""
    spec = all_specs()[name]
    return {
        other: some.bound + 0.5 if isinstance(some, Above) else some[0]
        for condition in (spec.when, *spec.any_of[:1])
        for other, some in condition.items()
    } | BESIDE.get(name, {})


def costs(name: str) -> set[tuple[int, float]]:
    """Tokens and operations of an iteration over the ends of a field's own range."""
    dimension = all_specs()[name].declared.search
    assert dimension is not None
    configs = [Config.of({**BASE, **conditions(name), name: value}) for value in extremes(all_specs()[name], dimension)]
    return {(cost.tokens, cost.flops) for cost in (Cost.of(config, 256) for config in configs)}


def test_seconds_below_any_iteration_are_refused() -> None:
    with pytest.raises(Fault, match=r"budget.seconds: 1e-09 is below one iteration, which takes 1e-05 seconds or more"):
        study({"learning_rate": "default"}, budget={"seconds": 1e-9})
    assert study({"learning_rate": "default"}, budget={"seconds": 1e-3}).budget.seconds == 1e-3


def test_the_known_ones_are_among_them() -> None:
    unequal = {name for name in SEARCHABLE if len(costs(name)) > 1}
    assert unequal >= {"batch_size", "block_size", "n_layer", "n_embd"}
    assert not unequal & {"n_head", "dropout", "learning_rate", "schedule", "bias", "softmax_variant"}


@pytest.mark.parametrize("name", SEARCHABLE)
@pytest.mark.parametrize("way", ["space", "per"])
def test_a_field_is_refused_exactly_if_it_changes_what_an_iteration_costs(name: str, way: str) -> None:
    if way == "space":
        asked: dict[str, Any] = {"space": {name: "default"}}
    else:
        values = list(extremes(all_specs()[name], all_specs()[name].declared.search))  # type: ignore[arg-type]
        other = "warmup_fraction" if name != "warmup_fraction" else "init_std"
        asked = {"per": name, "compare": values, "space": {other: "default"}}
    asked["base"] = conditions(name)
    if len(costs(name)) == 1:
        assert study(**asked).budget.horizon == 500
        return
    with pytest.raises(
        TunemaxError, match=rf"^{way}.*{name} changes (tokens|operations).* in place of horizon"
    ) as told:
        study(**asked)
    assert "\n" not in str(told.value)
    for budget in SAID:
        assert study(**asked, budget=budget).budget.unit in budget


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"space": {"feedback_share": "default"}, "base": {"feedback_every": 500}},
            "base.feedback_every: 500: a training of 500 iterations ends before anything is written; take less than "
            "500",
        ),
        (
            {"space": {"feedback_share": "default"}, "budget": {"horizon": 60}},
            "budget: feedback_every = 100: a training of 60 iterations ends before anything is written; take less than "
            "60",
        ),
        (
            {"space": {"feedback_every": [600, 700]}, "base": {"feedback_share": 0.5}, "budget": {"tokens": 256 * 500}},
            "space.feedback_every: 600: a training of 500 iterations",
        ),
    ],
)
def test_trials_that_end_before_anything_is_written_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(TunemaxError) as refusal:
        study(**asked)
    assert str(refusal.value).startswith(message)


def test_a_share_that_some_trials_have_is_enough() -> None:
    some = {"feedback_share": {"low": 0, "high": 0.5}, "feedback_every": [50, 700]}
    assert study(some, budget={"tokens": 256 * 500}).budget.tokens


@settings(max_examples=25)
@given(st.lists(st.sampled_from(SEARCHABLE), min_size=1, max_size=3, unique=True))
def test_no_company_hides_it(names: list[str]) -> None:
    base = {key: value for name in names for key, value in conditions(name).items()}
    space = dict.fromkeys(names, "default")
    single = {"n_embd": [32, 64]} if "n_embd" in space else {}  # heads have to divide it
    try:
        study({**space, **single}, base, budget={"tokens": 1e6})
    except TunemaxError:
        return  # they do not go together at all
    if any(len(costs(name)) > 1 for name in names):
        with pytest.raises(TunemaxError, match="no equal work"):
            study({**space, **single}, base)
    else:
        study({**space, **single}, base)


@pytest.mark.parametrize(
    "space",
    [
        {"batch_size": [8, 16], "learning_rate": "default"},
        {"batch_size": {"low": 1, "high": 64, "log": True}},
        {"n_layer": {"low": 1, "high": 2}, "constantmax.gamma": "default", "softmax_variant": "default"},
        {"block_size": {"choices": [8, 16]}, "batch_size": [16, 8]},  # equal tokens in two of four combinations
    ],
)
def test_every_way_to_write_a_dimension(space: dict[str, Any]) -> None:
    with pytest.raises(TunemaxError, match="no equal work"):
        study(space)
    with pytest.raises(TunemaxError, match="no equal work"):
        study(space, per="bias")


def test_a_grid_is_no_exception() -> None:
    with pytest.raises(TunemaxError, match=r"space\.n_layer: n_layer changes operations"):
        define(
            {"question": "?", "space": {"n_layer": [1, 2]}, "sampler": "grid", "budget": {"horizon": 9}},
            name="q",
        )


@pytest.mark.parametrize("per", [None, "batch_size"])
def test_tokens_below_one_batch_of_any_trial_are_refused(per: str | None) -> None:
    asked: dict[str, Any] = {"per": per, "compare": [4, 32], "space": {"beta1": "default"}}
    asked = asked if per else {"space": {"batch_size": [4, 32]}}
    with pytest.raises(TunemaxError, match=r"budget\.tokens: 1000 is below one iteration, which takes 1,024 tokens"):
        study(**asked, budget={"tokens": 1000})
    assert set(lengths(study(**asked, budget={"tokens": 1024}), 256)) == {1, 8}
    with pytest.raises(TunemaxError, match="which takes 1,024 tokens"):  # of the largest, below whichever it is
        study(**asked, budget={"tokens": 100})


def test_iterations_between_evaluations_mean_nothing_beside_other_units() -> None:
    for budget in SAID[1:]:
        with pytest.raises(TunemaxError, match=r"base\.eval_interval: counts iterations, .* take it out of base"):
            study({"beta1": "default"}, {"eval_interval": 5}, budget=budget)
    assert study({"beta1": "default"}, {"eval_interval": 5}).base["eval_interval"] == 5


def test_phases_are_compared_at_equal_shares() -> None:
    space = {"batch_size": [4, 32], "learning_rate": "default"}
    for pruner in ("median", "asha"):
        assert study(space, budget={"tokens": 1e6}, pruner=pruner).pruner.name == pruner
        with pytest.raises(TunemaxError, match="different phases"):
            study({**space, "warmup_fraction": [0.1, 0.5]}, budget={"tokens": 1e6}, pruner=pruner)


def test_cooled_rungs_are_checked_at_the_fewest_iterations() -> None:
    cooled = {"name": "asha", "cooled": True}
    space = {"batch_size": [4, 32]}
    assert study(space, {"schedule": "wsd"}, budget={"tokens": 1e6}, pruner=cooled).pruner.cooled
    with pytest.raises(TunemaxError, match=r"branch to rung 3 .*, which is too short to decay"):
        study(space, {"schedule": "wsd"}, budget={"tokens": 8192}, pruner=cooled)
