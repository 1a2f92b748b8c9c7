"""Named candidates of any fields: what they mean, how they join, and what a mistake in one says, with its line."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Choices, Range
from tunemax.search.question.changes import joined
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.schema import study_file
from tunemax.search.question.study_file import define, load_study_file
from tunemax.search.question.suggest import distributions, known_points
from tunemax.search.question.yaml_lines import parse_yaml

GOOD = """\
question: Which recipe?
base:
  n_layer: 2
  n_embd: 32
  n_head: 2
candidates:
  baseline: {}
  modern: {position: rotary, norm: rms, mlp: swiglu, qk_norm: rms}
  ours:
    softmax_variant: consmax
    norm: rms
    norm_position: peri
space:
  learning_rate: {low: 1e-3, high: 1e-2}
  constantmax.gamma: default
  qk_norm: [none, rms]
budget: {trials: 6, horizon: 100, equal: iterations}
"""


def read(text: str = GOOD, **more: Any) -> StudyDefinition:
    return define({**parse_yaml(text).data, **more}, name="q")


def searched(definition: StudyDefinition) -> dict[str, list[str]]:
    found = definition.siblings().items()
    return {study.removeprefix("q/"): sorted(definition.dimensions(fixed)) for study, fixed in found}


def test_each_candidate_is_a_sibling_that_fixes_what_it_names() -> None:
    definition = read()
    own = {
        "baseline": {},
        "modern": {"position": "rotary", "norm": "rms", "mlp": "swiglu", "qk_norm": "rms"},
        "ours": {"softmax_variant": "constantmax", "norm": "rms", "norm_position": "peri"},
    }
    shared = {"n_layer": 2, "n_embd": 32, "n_head": 2, "dataset": "python_stdlib", "seed": 1, "max_iters": 100}
    assert definition.siblings() == {f"q/{name}": {**shared, **fields} for name, fields in own.items()}


def test_each_searches_what_means_something_in_it_and_what_it_does_not_fix() -> None:
    definition = read()
    assert searched(definition) == {
        "baseline": ["learning_rate", "qk_norm"],
        "modern": ["learning_rate"],
        "ours": ["constantmax.gamma", "learning_rate", "qk_norm"],
    }
    for name, fixed in definition.siblings().items():
        assert sorted(distributions(definition, fixed)) == searched(definition)[name.removeprefix("q/")]
        for point in known_points(definition, fixed):
            Config.of({**fixed, **point})


def test_a_candidate_takes_the_place_of_base() -> None:
    candidates = {"deep": {"n_layer": 3}, "as_base": {}}
    definition = read(candidates=candidates, space={"learning_rate": "default"})
    assert [fixed["n_layer"] for fixed in definition.siblings().values()] == [3, 2]


def test_a_range_by_candidate_and_the_optimizers_own() -> None:
    rates = {"baseline": [0.01, 0.02], "modern": {"low": 1e-4, "high": 1e-2}, "ours": "default"}
    definition = read(space={"learning_rate": {"per": rates}, "constantmax.gamma": {"per": {"ours": [50, 100]}}})
    spaces = {name: definition.dimensions(fixed) for name, fixed in definition.siblings().items()}
    assert spaces["q/baseline"]["learning_rate"] == Choices((0.01, 0.02))
    assert spaces["q/modern"]["learning_rate"] == Range(1e-4, 1e-2, log=True)
    assert spaces["q/ours"] == {"learning_rate": Range(1e-3, 3e-2, log=True), "constantmax.gamma": Choices((50.0, 100))}
    definition = read(candidates={"a": {}, "b": {"optimizer": "lion"}}, space={"learning_rate": "default"})
    a, b = (definition.dimensions(fixed)["learning_rate"] for fixed in definition.siblings().values())
    assert isinstance(a, Range)
    assert isinstance(b, Range)
    assert b.high < a.high


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("mlp: swiglu", "mpl: swiglu", 8, "candidates.modern.mpl: no such field; did you mean `mlp`?"),
        ("mlp: swiglu", "mlp: swiglo", 8, "candidates.modern.mlp: mlp = swiglo: no such MLP; did you mean `swiglu`?"),
        ("mlp: swiglu", "mlp: [gelu, swiglu]", 8, "candidates.modern.mlp: ['gelu', 'swiglu'], expected "),
        ("    norm: rms\n", "    n_layer: 0\n", 11, "candidates.ours.n_layer: 0, expected a whole number ≥ 1"),
        ("    norm: rms\n", "    seed: 3\n", 11, "candidates.ours.seed: seed is decided by seed in a study file; take"),
        ("    norm: rms\n", "    eval_tokens: 3\n", 11, "candidates.ours.eval_tokens: eval_tokens decides how trials"),
        ("    norm: rms\n", "    compile: true\n", 11, "candidates.ours.compile: does not change what is trained"),
        (
            "    norm: rms\n",
            "    polymax.power: 2\n",
            11,
            "candidates.ours.polymax.power: means something only if softmax_variant is polymax (it is constantmax)",
        ),
        ("norm: rms\n", "norm: none\n", 9, "candidates.ours: norm_position = peri is a norm before and after"),
        ("{position: rotary,", "{position: learned, position: rotary,", 8, "given twice"),
        (
            "consmax\n",
            "consmax\n    constantmax.beta: 1\n    consmax.beta: 2\n",
            12,
            "given twice, also as constantmax",
        ),
        ("baseline: {}", "base line: {}", 7, "candidates.base line: cannot name a candidate, expected at most 80"),
        ("baseline: {}", "-b: {}", 7, "candidates.-b: cannot name a candidate"),
        ("baseline: {}", "../b: {}", 7, "candidates.../b: cannot name a candidate"),
        ("baseline: {}", "report: {}", 7, "candidates.report: cannot name a candidate, since the report lies in"),
        ("baseline: {}", "baseline: softmax", 7, "candidates.baseline: softmax, expected fields with their values"),
        ("baseline: {}", "baseline: {}\n  same: {norm: layer}", 8, "candidates.same: trains the same as baseline"),
        ("baseline: {}", "baseline: {}\n  same:", 8, "candidates.same: trains the same as baseline; keep one"),
        ("candidates:\n", "per: norm\ncandidates:\n", 6, "per: beside `candidates`, which says itself what is comp"),
        ("candidates:\n", "compare: [1]\ncandidates:\n", 6, "compare: beside `candidates`, which says itself"),
        ("qk_norm: [none, rms]", "polymax.power: default", 16, "space.polymax.power: means something only if"),
        (
            "constantmax.gamma: default",
            "learning_rate: {per: {baseline: default}}",
            15,
            "space.learning_rate: given twice",
        ),
        (
            "{low: 1e-3, high: 1e-2}",
            "{per: {baseline: default}}",
            14,
            "space.learning_rate.per: modern is missing; give each candidate its range, or default",
        ),
        ("{low: 1e-3, high: 1e-2}", "{per: {}}", 14, "space.learning_rate: expected {per: {baseline: …}} with a range"),
        (
            "{low: 1e-3, high: 1e-2}",
            "{per: {baselin: default}}",
            14,
            "space.learning_rate.per.baselin: baselin is no candidate of this study; did you mean `baseline`?",
        ),
        (
            "qk_norm: [none, rms]",
            "qk_norm: {per: {modern: [none, rms]}}",
            16,
            "space.qk_norm.per.modern: modern has qk_norm fixed, as rms; take it out here, or there",
        ),
        (", equal: iterations}", "}", 8, "candidates.modern: modern changes operations an iteration"),
        ("budget: {", "confirm: {seeds: 12, reference: basline}\nbudget: {", 17, "confirm.reference: basline, no cand"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_the_line_where_it_stands(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    assert GOOD.count(old) == 1
    file = tmp_path / "q.yaml"
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(TunemaxError) as caught:
        load_study_file(file)
    told = str(caught.value)
    assert told.startswith(f"{file}:{line}: "), told
    assert message in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (None, "candidates: null, expected"),
        ({}, "candidates: none, so there is nothing to compare"),
        ({"one": {}}, "candidates: one alone, so there is nothing to compare"),
        (["one", "two"], "candidates: ['one', 'two'], expected `name: {field: value, …}` lines"),
    ],
)
def test_fewer_than_two_are_nothing_to_compare(candidates: Any, message: str) -> None:
    with pytest.raises(TunemaxError) as caught:
        read(candidates=candidates)
    assert str(caught.value).startswith(message)


def test_a_dimension_that_every_candidate_decides_is_refused() -> None:
    with pytest.raises(TunemaxError, match=r"space\.norm: every candidate decides norm itself; take it out of space"):
        read(candidates={"a": {"norm": "layer"}, "b": {"norm": "rms"}}, space={"norm": "default"})


# ----------------------------------------------------------------------------------------------------------- changes


def changed(**candidates: Any) -> StudyDefinition:
    data = copy.deepcopy(parse_yaml(GOOD).data)
    named = {**data["candidates"], **candidates}
    return define({**data, "candidates": {name: own for name, own in named.items() if own != "-"}}, name="q")


def test_a_candidate_joins_behind_the_others() -> None:
    data = parse_yaml(GOOD).data
    first = {"new": {"mlp": "relu2"}, **data["candidates"]}
    grown = joined(read(), define({**data, "candidates": first}, name="q"))
    assert list(grown.candidates) == ["baseline", "modern", "ours", "new"]
    before, after = read().siblings(), grown.siblings()
    assert {name: after[name] for name in before} == before
    assert after["q/new"]["mlp"] == "relu2"


def test_one_that_joins_may_search_elsewhere_and_something_of_its_own() -> None:
    old, data = read(), parse_yaml(GOOD).data
    data["candidates"]["polynomial"] = {"softmax_variant": "polymax"}
    rates = {name: {"low": 1e-3, "high": 1e-2} for name in old.candidates}
    rates["polynomial"] = {"low": 1e-4, "high": 1e-1}
    data["space"] |= {"learning_rate": {"per": rates}, "polymax.power": "default"}
    grown = joined(old, define(data, name="q"))
    for name, fixed in old.siblings().items():
        assert grown.dimensions(grown.siblings()[name]) == old.dimensions(fixed)
    assert "polymax.power" in searched(grown)["polynomial"]


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ({"baseline": "-"}, "candidates: [baseline, modern, ours] -> [modern, ours] (baseline has its study already)"),
        ({"modern": {"norm": "rms"}}, "candidates.modern.mlp: swiglu -> gelu (the finished trials were trained with"),
        ({"modern": {"norm": "rms"}}, "space.qk_norm: none -> [none, rms] (the finished trials do not have it)"),
    ],
)
def test_one_that_has_its_study_stays_as_it_is(candidates: dict[str, Any], message: str) -> None:
    with pytest.raises(TunemaxError) as caught:
        joined(read(), changed(**candidates))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_written_otherwise_and_trains_the_same_is_no_change() -> None:
    data = parse_yaml(GOOD).data
    data["base"]["norm"] = "rms"
    data["candidates"]["baseline"] = {"norm": "layer", "mlp": "gelu"}
    del data["candidates"]["modern"]["norm"]
    new = define(data, name="q")
    assert joined(read(), new) == new


def test_candidates_may_join_what_began_with_the_short_form() -> None:
    plain = parse_yaml(GOOD).data
    short = {key: value for key, value in plain.items() if key != "candidates"}
    short |= {"per": "softmax_variant", "compare": ["softmax", "constantmax"]}
    old = define(short, name="q")
    bundles = {"constantmax": {"softmax_variant": "constantmax"}, "softmax": {}, "modern": {"norm": "rms"}}
    grown = joined(old, define({**plain, "candidates": bundles}, name="q"))
    assert list(grown.siblings()) == ["q/softmax", "q/constantmax", "q/modern"]
    assert joined(grown, define({**plain, "candidates": bundles}, name="q")) == grown
    with pytest.raises(TunemaxError, match=r"per: softmax_variant -> \[baseline, modern, ours\]"):
        joined(old, read())
    alone = {key: value for key, value in short.items() if key not in ("per", "compare")}
    single = define({**alone, "space": {"learning_rate": "default"}}, name="q")
    with pytest.raises(TunemaxError, match=r"candidates: none -> \[baseline, modern, ours\] .*would be others"):
        joined(single, read())


# -------------------------------------------------------------------------------------------------------- round trip


def test_an_older_tunemax_reads_what_has_no_candidates_and_refuses_what_has() -> None:
    short = {key: value for key, value in parse_yaml(GOOD).data.items() if key != "candidates"}
    assert "candidates" not in define({**short, "per": "softmax_variant"}, name="q").to_json()
    assert "candidates" in read().to_json()


def test_editors_know_candidates(editor: jsonschema.Draft202012Validator) -> None:
    editor.validate(parse_yaml(GOOD).data)
    for bad in ({"a": {}}, {"a": {}, "b c": {}}, {"a": {}, "b": {"nrom": "rms"}}, {"a": {}, "b": {"norm": 1}}):
        assert list(editor.iter_errors({**parse_yaml(GOOD).data, "candidates": bad})), bad


FIELDS: dict[str, list[Any]] = {
    "softmax_variant": ["softmax", "constantmax", "polymax"],
    "constantmax.gamma": [50.0, 80.0],
    "norm": ["layer", "rms"],
    "norm_position": ["pre", "peri"],
    "mlp": ["gelu", "swiglu", "relu2"],
    "qk_norm": ["none", "rms"],
    "n_layer": [1, 2, 3],
    "weight_decay": [0.0, 0.1],
    "optimizer": ["adamw", "lion"],
}
BUNDLES = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in FIELDS.items()})
NAMES = st.from_regex(r"[a-z0-9_][a-z0-9_-]{0,7}", fullmatch=True).filter(lambda name: name != "report")
RATES: list[Any] = ["default", [0.001, 0.003], {"low": 1e-4, "high": 1e-2}, {"low": 0.01, "high": 0.02, "log": False}]
SEARCHED = {
    "norm": ["layer", "rms"],
    "mlp": ["gelu", "swiglu"],
    "softmax_variant": ["softmax", "constantmax"],
    "optimizer": ["adamw", "lion"],
}


def meaningful(own: dict[str, Any]) -> dict[str, Any]:
    """Without what is inert in a candidate with these fields."""
    return {name: own[name] for name in own if "." not in name or own.get("softmax_variant", "softmax") in name}


@st.composite
def questions(draw: st.DrawFn) -> StudyDefinition:
    """A question with candidates."""
    candidates = draw(st.dictionaries(NAMES, BUNDLES.map(meaningful), min_size=1, max_size=4))
    candidates = {**candidates, "as-base": {}}
    space: dict[str, Any] = {"learning_rate": draw(st.sampled_from(RATES))}
    if draw(st.booleans()):
        space["learning_rate"] = {"per": {name: draw(st.sampled_from(RATES)) for name in candidates}}
    space |= {name: SEARCHED[name] for name in draw(st.sets(st.sampled_from([*SEARCHED])))}
    data = {
        "question": "?",
        "base": {name: value for name, value in meaningful(draw(BUNDLES)).items() if name not in space},
        "candidates": candidates,
        "space": space,
        "sampler": "random",
        "pruner": "none",
        "budget": {"trials": 4, "horizon": 50, "equal": "iterations"},
    }
    try:
        return define(data, name="q")
    except TunemaxError as error:
        assume("trains the same as" not in str(error))
        raise


@settings(max_examples=30, deadline=None)
@given(definition=questions())
def test_written_again_it_means_the_same(editor: jsonschema.Draft202012Validator, definition: StudyDefinition) -> None:
    assert StudyDefinition.from_json(definition.to_json()) == definition
    again = define(parse_yaml(study_file(definition)).data, name="unused")
    assert again == definition
    assert joined(definition, again) == definition
    assert not list(editor.iter_errors(parse_yaml(study_file(definition)).data))


@settings(max_examples=30, deadline=None)
@given(questions())
def test_no_two_candidates_are_the_same_and_every_field_of_theirs_means_something(
    definition: StudyDefinition,
) -> None:
    for name, fixed in definition.siblings().items():
        own, dimensions = definition.candidates[name.removeprefix("q/")], definition.dimensions(fixed)
        assert not own.keys() & dimensions.keys()
        chosen = {field: next(iter(dim.values)) for field, dim in dimensions.items() if isinstance(dim, Choices)}
        values = {**definition.begin(fixed), **chosen}
        assert all(all_specs()[field].active(values) or all_specs()[field].depends_on & chosen.keys() for field in own)
    fixed_alone = [
        Config.of(fixed).identity for fixed in definition.siblings().values() if len(definition.dimensions(fixed)) == 1
    ]
    assert len(set(fixed_alone)) == len(fixed_alone)
