"""Parts of the model in study files: one study a kind, and dimensions only where their kind is."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import optuna
import pytest

from tunemax.gpt.config import PARTS, Config
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.study_file import define, load_study_file
from tunemax.search.question.suggest import distributions, suggest
from tunemax.search.question.yaml_lines import Fault

SMALL: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 2}
SPACE: dict[str, Any] = {
    "learning_rate": "default",
    "n_kv_head": "default",
    "fractal_split": "default",
    "rope_base": "default",
    "norm_position": "default",
    "qk_norm": "default",
    "qk_norm_scale": "default",
}


def question(space: dict[str, Any], base: dict[str, Any] | None = None, **more: Any) -> StudyDefinition:
    fixed = {**SMALL, "position": "rotary", **(base or {})}
    named = {name: value for name, value in fixed.items() if name not in (*space, more.get("per"))}
    budget = {"trials": 4, "horizon": 20, "equal": "iterations"}  # some kinds have fewer weights
    return define({"question": "?", "base": named, "space": space, "budget": budget, **more}, name="q")


def test_attention_kinds_have_a_study_each_with_what_means_something_there() -> None:
    definition = question(SPACE, per="attention")
    found = {name: set(distributions(definition, fixed)) for name, fixed in definition.siblings().items()}
    everywhere = {"learning_rate", "rope_base", "norm_position", "qk_norm"}
    for name, dimensions in found.items():
        kind = name.removeprefix("q/")
        more = {"n_kv_head"} if kind in ("grouped_query", "fractal") else set()
        assert dimensions - {"qk_norm_scale"} == everywhere | more | ({"fractal_split"} if kind == "fractal" else set())
    assert {name.removeprefix("q/") for name in found} == set(PARTS["attention"].kinds())


@pytest.mark.parametrize("field", [field for field in PARTS if field != "softmax_variant"])
def test_every_part_can_be_compared(field: str) -> None:
    groups = (
        {"n_embd": 64, "n_head": 4, "n_kv_head": 2} if field == "attention" else {}
    )  # with one head of keys it is multi_query
    siblings = question({"learning_rate": "default"}, groups, per=field).siblings()
    assert [fixed[field] for fixed in siblings.values()] == list(PARTS[field].kinds())
    configs = [Config.of(fixed) for fixed in siblings.values()]
    assert len({config.identity for config in configs}) == len(configs)


def test_a_trial_is_asked_for_what_means_something_in_it() -> None:
    space = {**SPACE, "attention": "default", "norm": "default", "position": "default"}
    definition = question(space, sampler="random")
    ((_, fixed),) = definition.siblings().items()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(40):
        trial = study.ask()
        config = Config.of(suggest(trial, definition, fixed))
        asked = trial.params
        assert ("n_kv_head" in asked) == (asked["attention"] in ("grouped_query", "fractal"))
        assert ("fractal_split" in asked) == (asked["attention"] == "fractal")
        assert ("rope_base" in asked) == (asked["position"] == "rotary")
        assert ("norm_position" in asked) == (asked["norm"] != "none")
        assert ("qk_norm_scale" in asked) == (asked["qk_norm"] != "none")
        assert config.identity
        assert asked.items() <= config.flat().items()


def test_an_alias_is_the_kind_that_it_stands_for() -> None:
    siblings = question({"learning_rate": "default"}, per="position", compare=["rope", "alibi"]).siblings()
    assert list(siblings) == ["q/rotary", "q/alibi"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": {"attention": "fractl"}}, "no such attention kind; did you mean `fractal`"),
        ({"per": "attention", "compare": ["multi_head", "fractl"]}, "no such attention kind; did you mean `fractal`"),
        ({"per": "mlp", "compare": ["gelu", "swigl"]}, "no such MLP; did you mean `swiglu`"),
        ({"space": {"norm": ["layer", "rmss"]}}, "no such norm; did you mean `rms`"),
        ({"space": {"n_kv_head": [1, 2]}}, "means something only if attention is fractal or grouped_query"),
        ({"space": {"rope_base": [10.0, 100.0]}, "base": {"position": "alibi"}}, "only if position is rotary"),
        ({"space": {"n_kv_head": [1, 3]}, "base": {"attention": "grouped_query"}}, "not divisible by n_kv_head = 3"),
        ({"space": {"n_head": [1, 8]}, "base": {"attention": "fractal"}}, "fractal_split = 2 cuts the last of n_head"),
        ({"space": {"rope_share": [0.3, 0.5]}}, "rope_share = 0.3 of it is 2.4"),
        ({"space": {"window": {"low": 0, "high": 8}}}, "a whole number ≥ 1"),
        ({"space": {"norm": ["layer", "none"]}, "base": {"norm_position": "peri"}}, "norm_position = peri"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Fault) as fault:
        question(**{"space": {"learning_rate": "default"}, **change})
    assert message in str(fault.value)
    assert len(str(fault.value).splitlines()) == 1


def test_the_study_of_attention_compares_at_equal_parameters_and_operations() -> None:
    from tunemax.gpt.cost import Cost

    definition = load_study_file(Path(__file__).parents[3] / "studies/attention.yaml")
    costs = [Cost.of(Config.of(fixed), 256) for fixed in definition.siblings().values()]
    assert len(costs) == 3
    assert all(one == other for one, other in itertools.pairwise(costs))
