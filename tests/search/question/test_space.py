"""Where siblings search each about its own learning rate, and what is made of that afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Choices, Range
from tunemax.gpt.optimizer import Optimizer
from tunemax.search.question.changes import joined
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.schema import study_file
from tunemax.search.question.study_file import define
from tunemax.search.question.suggest import distributions, known_points
from tunemax.search.question.yaml_lines import Fault, parse_yaml

RATE = Range(1e-3, 3e-2, log=True)
LION, MUON, SGD = (Optimizer.find(name).ranges["learning_rate"] for name in ("lion", "muon", "sgd"))


def question(space: dict[str, Any], **more: Any) -> StudyDefinition:
    plan = {"question": "?", "space": space, "budget": {"trials": 6, "horizon": 30}, "pruner": "none"}
    return define({**plan, **more}, name="q")


def searched(definition: StudyDefinition, name: str = "learning_rate") -> dict[str, Any]:
    found = definition.siblings().items()
    return {study.removeprefix("q/"): definition.dimensions(fixed)[name] for study, fixed in found}


def test_each_optimizer_is_tuned_in_its_own_range() -> None:
    definition = question({"learning_rate": "default", "beta1": "default"}, per="optimizer")
    assert searched(definition) == {"adamw": RATE, "lion": LION, "muon": MUON, "sgd": SGD}
    for name, fixed in definition.siblings().items():
        low, high = (getattr(distributions(definition, fixed)["learning_rate"], end) for end in ("low", "high"))
        assert (low, high) == (searched(definition)[name[2:]].low, searched(definition)[name[2:]].high)
        assert all(low <= point["learning_rate"] <= high for point in known_points(definition, fixed)[:2])
        assert ("beta1" in definition.dimensions(fixed)) == (not name.endswith("sgd"))


def test_an_end_that_is_left_out_is_the_optimizers() -> None:
    definition = question({"learning_rate": {"high": 5e-3}}, per="optimizer", compare=["adamw", "lion"])
    assert searched(definition) == {"adamw": Range(1e-3, 5e-3, log=True), "lion": Range(LION.low, 5e-3, log=True)}
    same = question({"learning_rate": {"low": 1e-3, "high": 5e-3}}, per="optimizer", compare=["adamw", "lion"])
    assert not same.own


@pytest.mark.parametrize("optimizer", Optimizer.kinds())
def test_one_optimizer_for_all_has_its_range_and_its_defaults(optimizer: str) -> None:
    definition = question({"learning_rate": "default"}, base={"optimizer": optimizer})
    assert searched(definition)["q"] == Optimizer.find(optimizer).ranges.get("learning_rate", RATE)
    (fixed,) = definition.siblings().values()
    assert definition.begin(fixed)["weight_decay"] == Optimizer.find(optimizer).defaults.get("weight_decay", 0.1)


def test_where_optimizers_are_a_choice_the_range_holds_those_of_all() -> None:
    definition = question({"learning_rate": "default", "optimizer": ["adamw", "lion"]})
    assert searched(definition)["q"] == Range(LION.low, RATE.high, log=True)


@pytest.mark.parametrize(
    "siblings", [{}, {"softmax": 1}, dict.fromkeys(("softmax", "constantmax", "polymax"), 1)], ids=len
)
@pytest.mark.parametrize(
    "optimizers", [["adamw", "sgd"], ["lion", "muon", "sgd"], ["adamw", "lion", "muon", "sgd"]], ids=len
)
def test_what_a_choice_of_optimizers_widens_is_no_siblings_own(siblings: dict[str, Any], optimizers: list[str]) -> None:
    compared = {"per": "softmax_variant", "compare": [*siblings]} if siblings else {}
    ranges = [Optimizer.find(name).ranges.get("learning_rate", RATE) for name in optimizers]
    widest = Range(min(each.low for each in ranges), max(each.high for each in ranges), log=True)
    definition = question({"learning_rate": "default", "optimizer": optimizers}, **compared)
    assert not definition.own
    assert set(searched(definition).values()) == {widest}
    assert define(parse_yaml(study_file(definition)).data, name="q") == definition
    if siblings:  # a sibling's `default` is of all optimizers too
        written = {"per": dict.fromkeys(siblings, "default")}
        assert question({"learning_rate": written, "optimizer": optimizers}, **compared) == definition


def test_siblings_may_be_given_ranges_of_their_own() -> None:
    parts = {"softmax": [0.01, 0.02], "constantmax": {"low": 1e-3, "high": 1e-2}}
    definition = question({"learning_rate": {"per": parts}}, per="softmax_variant", compare=[*parts])
    assert searched(definition) == {"softmax": Choices((0.01, 0.02)), "constantmax": Range(1e-3, 1e-2, log=True)}
    grid = {"adamw": [0.01, 0.02], "lion": [0.001, 0.002]}
    definition = question(
        {"learning_rate": {"per": grid}}, per="optimizer", compare=[*grid], sampler="grid", budget={"horizon": 9}
    )
    for name, fixed in definition.siblings().items():
        assert [point["learning_rate"] for point in known_points(definition, fixed)] == grid[name[2:]]


@pytest.mark.parametrize(
    ("dimension", "more", "message"),
    [
        ({"per": {"adamw": "default"}}, {}, "`per` gives candidates ranges of their own, and there are none"),
        ({"per": {"adamw": "default"}}, {"per": "optimizer"}, "lion is missing; give each candidate its range"),
        ({"per": {"adamv": "default"}}, {"per": "optimizer"}, "adamv is no candidate.*did you mean `adamw`"),
        ({"per": [1, 2]}, {"per": "optimizer"}, "expected {per: {adamw: …}} with a range for each candidate"),
        ({"per": {}, "low": 1}, {"per": "optimizer"}, "expected {per: {adamw: …}} with a range for each candidate"),
        ({"per": {"adamw": {"low": "x"}}}, {"per": "optimizer", "compare": ["adamw"]}, "x, expected a number > 0"),
        ("default", {"per": "optimizer", "compare": ["adam"]}, "no such optimizer.*did you mean `adamw`"),
        ("default", {"base": {"optimizer": "adan"}}, "no such optimizer"),
        ("default", {"base": {"optimizer": "sgd", "parametrisation": "mup", "mup_base_width": 64}}, "optimizer = sgd"),
        ("default", {"per": "optimizer", "base": {"parametrisation": "mup", "mup_base_width": 64}}, "optimizer = sgd"),
        ("default", {"base": {"parametrisation": "mup"}}, "needs mup_base_width"),
    ],
    ids=str,
)
def test_mistakes_are_refused_in_one_line(dimension: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(Fault, match=message) as fault:
        question({"learning_rate": dimension}, **more)
    assert len(str(fault.value).splitlines()) == 1


def test_an_optimizer_and_mup_that_cannot_meet_are_refused_before_a_trial_is_lost() -> None:
    space = {"optimizer": ["adamw", "sgd"], "parametrisation": ["standard", "mup"]}
    with pytest.raises(Fault, match=r"optimizer = sgd: .*every combination of values must be possible"):
        question(space, base={"mup_base_width": 64})
    assert question({**space, "optimizer": ["adamw", "lion"]}, base={"mup_base_width": 64})


def test_a_field_of_no_optimizer_that_is_compared_is_refused() -> None:
    with pytest.raises(Fault, match=r"momentum|means something only if optimizer is muon or sgd"):
        question({"momentum": "default"}, per="optimizer", compare=["adamw", "lion"])


def test_a_definition_with_ranges_of_its_own_is_kept_and_written_as_it_is() -> None:
    definition = question({"learning_rate": "default", "warmup_fraction": "default"}, per="optimizer")
    assert StudyDefinition.from_json(definition.to_json()) == definition
    again = define(parse_yaml(study_file(definition)).data, name="q")
    assert searched(again) == searched(definition)
    other = question({"learning_rate": {"high": 5.5}, "warmup_fraction": "default"}, per="optimizer")
    assert joined(definition, again) == definition
    with pytest.raises(TunemaxError, match=r"space.learning_rate"):
        joined(definition, other)
