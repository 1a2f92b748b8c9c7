"""Study files: what they mean, and what each mistake says, with its line."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Choices, Range
from tunemax.gpt.softmax import variants
from tunemax.gpt.visible import steering
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import OWNED, options
from tunemax.search.question.phases import SHAPE
from tunemax.search.question.schema import json_schema, study_file
from tunemax.search.question.study_file import define, load_study_file
from tunemax.search.question.yaml_lines import Fault, parse_yaml, read_yaml

STUDIES = sorted(
    path for path in (Path(__file__).parents[3] / "studies").glob("*.yaml") if not path.name.startswith("rl_")
)

GOOD = """\
# Does it work?
question: Does it work?
base:
  n_layer: 2
  n_embd: 32
per: softmax_variant
compare: [softmax, consmax]
space:
  learning_rate: {low: 1e-4, high: 1e-2}
  constantmax.beta: default
budget: {trials: 5, horizon: 100}
"""

PRUNERS = ["none", "median", "asha", {"name": "asha", "warmup": 0.5, "reduction": 3}, {"name": "median", "spared": 0.0}]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "try.yaml"
    path.write_text(GOOD)
    return path


def refusal(file: Path, text: str | None = None) -> str:
    """The one line with which a file is refused, from its line number on."""
    if text is not None:
        file.write_text(text)
    with pytest.raises(TunemaxError) as caught:
        load_study_file(file)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(file))
    return line.removeprefix(str(file))


def test_a_file_means_what_it_says(file: Path) -> None:
    study = load_study_file(file)
    assert study.name == "try"
    assert study.compare == ("softmax", "constantmax")
    assert study.space["learning_rate"] == Range(1e-4, 1e-2, log=True), "a range keeps the field's own scale"
    assert study.space["constantmax.beta"] == Range(0.5, 10)
    assert (study.seed, study.workers, study.slots) == (1, None, None)
    fixed = {"n_layer": 2, "n_embd": 32, "dataset": "python_stdlib", "seed": 1, "max_iters": 100}
    assert study.siblings() == {
        "try/softmax": {**fixed, "softmax_variant": "softmax"},
        "try/constantmax": {**fixed, "softmax_variant": "constantmax"},
    }
    assert [list(study.dimensions(each)) for each in study.siblings().values()] == [
        ["learning_rate"],
        ["learning_rate", "constantmax.beta"],
    ]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_our_own_studies(path: Path, editor: jsonschema.Draft202012Validator) -> None:
    first = path.read_text().splitlines()[0]
    study = load_study_file(path)
    assert first == f"# {study.question}"
    assert study.name == path.stem
    for fixed in study.siblings().values():
        Config.of(fixed)
    editor.validate(read_yaml(path).data)
    assert define(parse_yaml(study_file(study)).data, name="unused") == study, "written again it means the same"


def test_the_quick_start_compares_the_seven_variants() -> None:
    study = load_study_file(next(path for path in STUDIES if path.stem == "softmax_variants"))
    assert len(study.siblings()) == 7
    own = {name.partition(".")[0] for name in study.space if "." in name}
    assert own <= set(study.compare)


def test_the_grid_is_the_papers_figure() -> None:
    study = load_study_file(next(path for path in STUDIES if path.stem == "constantmax_beta_gamma"))
    assert study.budget.trials == 64


def test_default_ranges_and_values_are_written_out(file: Path) -> None:
    study = load_study_file(_changed(file, "compare: [softmax, consmax]\n", ""))
    assert study.compare == tuple(variants())
    assert "default" not in study.to_json()


def _changed(file: Path, old: str, new: str) -> Path:
    assert old in GOOD
    file.write_text(GOOD.replace(old, new))
    return file


MISTAKES = [
    ("n_layer: 2", "n_layr: 2", ":4: base.n_layr: no such field; did you mean `n_layer`?"),
    ("n_layer: 2", "n_layer: 0", ":4: base.n_layer: 0, expected a whole number ≥ 1 and ≤ 96"),
    ("n_layer: 2", "n_layer: two", ":4: base.n_layer: two, expected a whole number"),
    (
        "n_layer: 2",
        "n_layer: [2, 4]",
        ":4: base.n_layer: [2, 4], expected a whole number ≥ 1 and ≤ 96; several values to try go into space",
    ),
    ("n_layer: 2", "n_layer:", ":4: base.n_layer: null, expected a whole number"),
    ("n_layer: 2", "dropout: .nan", ":4: base.dropout: NaN, expected a number"),
    ("n_layer: 2", "schedule: cosin", "did you mean `cosine`?"),
    ("n_layer: 2", "n_head: 3", ":3: base: n_embd = 32 is not divisible by n_head = 3; change one of them"),
    (
        "n_layer: 2",
        "max_iters: 5",
        ":4: base.max_iters: max_iters is decided by budget in a study file; take it out of base",
    ),
    ("n_layer: 2", "seed: 5", ":4: base.seed: seed is decided by seed in a study file"),
    ("n_layer: 2", "dataset: x", ":4: base.dataset: dataset is decided by data in a study file"),
    ("n_layer: 2", "softmax_variant: softmax", ":4: base.softmax_variant: `per` decides softmax_variant"),
    (
        "n_layer: 2",
        "learning_rate: 0.1",
        ":9: space.learning_rate: learning_rate is also in base, as 0.1; keep one of them",
    ),
    (
        "n_layer: 2",
        "consmax.gamma: 1\n  constantmax.gamma: 2",
        ":5: base.constantmax.gamma: given twice, also as consmax.gamma",
    ),
    ("n_layer: 2", "n_layer: 2\n  n_layer: 3", ":5: base.n_layer: given twice (first in line 4); keep one"),
    ("n_layer: 2", "polimax.power: 2", "no such field; did you mean `polymax.power`?"),
    ("base:\n  n_layer: 2\n  n_embd: 32", "base: 5", ":3: base: 5, expected `name: value` lines"),
    (
        "compare: [softmax, consmax]",
        "compare: [softmax, sofmax]",
        ":7: compare.1: softmax_variant = sofmax: no such variant; did you mean `softmax`?",
    ),
    ("compare: [softmax, consmax]", "compare: [consmax, constantmax]", ":7: compare.1: constantmax is listed twice"),
    ("compare: [softmax, consmax]", "compare: []", ":7: compare: expected a list of values of softmax_variant"),
    ("compare: [softmax, consmax]", "compare: softmax", ":7: compare: expected a list"),
    ("per: softmax_variant\n", "", ":6: compare: needs `per`"),
    ("per: softmax_variant", "per: softmax_varient", ":6: per: no such field; did you mean `softmax_variant`?"),
    ("per: softmax_variant", "per: dataset", ":6: per: dataset is decided by data"),
    ("per: softmax_variant", "per: device", ":6: per: device does not change what is trained"),
    ("per: softmax_variant", "per: learning_rate", ":9: space.learning_rate: `per` decides learning_rate"),
    (
        "{low: 1e-4, high: 1e-2}",
        "{low: 1e-2, high: 1e-4}",
        ":9: space.learning_rate: low = 0.01 is not below high = 0.0001",
    ),
    (
        "{low: 1e-4, high: 1e-2}",
        "{low: 0, high: 1e-2}",
        ":9: space.learning_rate.low: 0, expected a number > 0 and ≤ 10",
    ),
    (
        "{low: 1e-4, high: 1e-2}",
        "{low: 1e-4, high: 11}",
        ":9: space.learning_rate.high: 11, expected a number > 0 and ≤ 10",
    ),
    (
        "{low: 1e-4, high: 1e-2}",
        "{lo: 1e-4}",
        ":9: space.learning_rate.lo: no such key in a range; did you mean `low`?",
    ),
    ("{low: 1e-4, high: 1e-2}", "{low: 1e-4, log: 1}", ":9: space.learning_rate.log: 1 is neither true nor false"),
    ("{low: 1e-4, high: 1e-2}", "{step: 0.1}", ":9: space.learning_rate.step: a log range has no step"),
    (
        "{low: 1e-4, high: 1e-2}",
        "{low: 0.1, high: 1, log: false, step: 0.4}",
        "no whole number of steps of 0.4 above low = 0.1; the last one is 0.9",
    ),
    ("{low: 1e-4, high: 1e-2}", "{choices: [0.1], low: 2}", ":9: space.learning_rate.low: no such key beside choices"),
    ("{low: 1e-4, high: 1e-2}", "{choices: 0.1}", ":9: space.learning_rate.choices: 0.1 is no list"),
    ("{low: 1e-4, high: 1e-2}", "[0.1]", ":9: space.learning_rate: 1 value to choose from; list at least two"),
    ("{low: 1e-4, high: 1e-2}", "[0.1, 0.10]", ":9: space.learning_rate.1: 0.1 is listed twice"),
    ("{low: 1e-4, high: 1e-2}", "0.1", ":9: space.learning_rate: 0.1 is no dimension"),
    ("learning_rate: {low: 1e-4, high: 1e-2}", "dropout: {low: 0, high: 0.1, log: true}", "a log range needs low > 0"),
    (
        "learning_rate: {low: 1e-4, high: 1e-2}",
        "bias: {low: 0, high: 1}",
        ":9: space.bias: a range needs numbers, but bias is true or false",
    ),
    ("learning_rate: {low: 1e-4, high: 1e-2}", "schedule: [cosine, wsp]", ":9: space.schedule.1: wsp, expected one of"),
    (
        "learning_rate: {low: 1e-4, high: 1e-2}",
        "data_start: default",
        ":9: space.data_start: data_start has no default range",
    ),
    ("learning_rate: {low: 1e-4, high: 1e-2}", "data_start: {low: 0.1}", ":9: space.data_start: high is missing"),
    (
        "learning_rate: {low: 1e-4, high: 1e-2}",
        "device: [cpu, cuda]",
        ":9: space.device: does not change what is trained",
    ),
    (
        "learning_rate: {low: 1e-4, high: 1e-2}",
        "max_iters: [1, 2]",
        ":9: space.max_iters: max_iters is decided by budget",
    ),
    (
        "learning_rate: {low: 1e-4, high: 1e-2}",
        "n_head: [1, 3]",
        ":8: space: n_embd = 32 is not divisible by n_head = 3",
    ),
    (
        "learning_rate: {low: 1e-4, high: 1e-2}",
        "decay_fraction: default",
        ":9: space.decay_fraction: means something only if schedule is wsd (it is linear); take it out",
    ),
    (
        "learning_rate: {low: 1e-4, high: 1e-2}",
        "polymax.power: default",
        ":9: space.polymax.power: means something only if softmax_variant is polymax (it is softmax)",
    ),
    (
        "learning_rate: {low: 1e-4, high: 1e-2}",
        "schedule: [cosine, linear]\n  decay_fraction: default",
        ":10: space.decay_fraction: means something only if schedule is wsd (never in its space)",
    ),
    ("trials: 5", "trials: 0", ":11: budget.trials: 0, expected a number ≥ 1"),
    ("trials: 5", "trials: -5", ":11: budget.trials: -5, expected a number ≥ 1"),
    ("trials: 5", "trials: 5.0", ":11: budget.trials: 5.0, expected a whole number"),
    ("trials: 5", "trails: 5", "did you mean `trials`?"),
    (
        "{trials: 5, horizon: 100}",
        "{trials: 5}",
        ":11: budget: missing the work of a trial; write one of horizon (iterations), tokens (tokens), ",
    ),
    (
        "{trials: 5, horizon: 100}",
        "{trials: 5, tokens: 1e6, flops: 1e9}",
        ":11: budget: tokens and flops are 2 units of work; keep one of them",
    ),
    (
        "{trials: 5, horizon: 100}",
        "{trials: 5, horizon: 100, seconds: 60}",
        ":11: budget: horizon and seconds are 2 units of work; keep one of them; a limit on the time of a whole run is "
        "run_seconds",
    ),
    (
        "horizon: 100",
        "tokens: 767",
        ":11: budget.tokens: 767 is below one iteration, which takes 768 tokens; take more",
    ),
    ("horizon: 100", "tokens: 0", ":11: budget.tokens: 0, expected a number ≥ 1"),
    ("horizon: 100", "tokens: 1e6.5", ":11: budget.tokens: 1e6.5, expected a whole number"),
    ("horizon: 100", "tokens: 1000.5", ":11: budget.tokens: 1000.5, expected a whole number"),
    ("horizon: 100", "flops: -1", ":11: budget.flops: -1, expected a number > 0"),
    ("horizon: 100", "seconds: 0", ":11: budget.seconds: 0, expected a number > 0"),
    ("horizon: 100", "second: 9", "budget.second: no such key here; did you mean `seconds`?"),
    ("horizon: 100", "tokens: 1e6, equal: iterations", ":11: budget: equal belongs to horizon; tokens are held equal"),
    ("horizon: 100", "horizon: 100, equal: tokens", ":11: budget.equal: tokens, expected one of iterations"),
    ("horizon: 100", "horizon: 100, looks: 5", ":11: budget: looks belongs to tokens, flops and seconds; with horizon"),
    ("{trials: 5, horizon: 100}", "{horizon: 5}", ":11: budget.trials: missing"),
    ("budget: {trials: 5, horizon: 100}\n", "", ":2: budget: missing; a study file needs it"),
    (
        "  learning_rate: {low: 1e-4, high: 1e-2}\n  constantmax.beta: default\n",
        "  {}\n",
        "space: missing or empty; at least one is needed",
    ),
    ("question: Does it work?", "question: ''", ":2: question: , expected"),
    ("question: Does it work?", "question: 5", ":2: question: 5, expected text"),
    ("question: Does it work?", "question: a\nquestion: b", ":3: question: given twice (first in line 2)"),
    ("question: Does it work?", "question: a\nname: My Study", ":3: name: My Study, expected"),
    (
        "question: Does it work?",
        "question: a\nspeed: 1",
        ":3: speed: no such key in a study file; did you mean `seed`?",
    ),
    ("question: Does it work?", "question: a\nfingerprint: 1", ":3: fingerprint: no such key"),
    ("question: Does it work?", "question: a\nworkers: 0", ":3: workers: 0, expected a number ≥ 1"),
    ("question: Does it work?", "question: a\nslots: 0", ":3: slots: 0, expected"),
    ("question: Does it work?", "question: a\nseed: -1", ":3: seed: -1, expected"),
    ("question: Does it work?", "question: a\nsampler: tep", ":3: sampler: tep: no such sampler; did you mean `tpe`?"),
    (
        "question: Does it work?",
        "question: a\nsampler: {name: random, startup: 3}",
        ":3: sampler: random has no start-up trials",
    ),
    (
        "question: Does it work?",
        "question: a\npruner: medain",
        ":3: pruner: medain: no such pruner; did you mean `median`?",
    ),
    (
        "question: Does it work?",
        "question: a\npruner: {name: asha, warmup: 0.1}",
        ":3: pruner.warmup: 0.1, expected a number ≥ 0.33",
    ),
    (
        "question: Does it work?",
        "question: a\npruner: {name: asha, startup: 9}",
        ":3: pruner: asha has no startup; it belongs to median",
    ),
    (
        "question: Does it work?",
        "question: a\npruner: {name: median, cooled: true}",
        ":3: pruner: median has no cooled; it belongs to asha",
    ),
    (
        "question: Does it work?",
        "question: a\npruner: {name: asha, spared: 2}",
        ":3: pruner.spared: 2, expected a number ≤ 1",
    ),
    ("question: Does it work?", "question: a\nsampler: grid", ":10: space.learning_rate: a grid needs few values"),
    ("question: Does it work?", "question: *anchor", ":2: aliases (*name) are not taken here"),
    (
        "question: Does it work?",
        "question: !!python/object:os.system x",
        ":2: the tag tag:yaml.org,2002:python/object:os.system is not taken",
    ),
    ("question: Does it work?", "question: [", "not YAML: "),
    ("question: Does it work?", "question: \x07", ":2: not YAML: a character that may not be in it (#x0007)"),
    ("question: Does it work?", "? [a, b]\n: c", ":2: a key must be a name"),
    ("question: Does it work?", '"two\\nlines": 1', ":2: two\\nlines: no such key"),
    ("n_layer: 2", 'n_layer: "1\\n2"', ":4: base.n_layer: 1\\n2, expected a whole number"),
]


@pytest.mark.parametrize(
    ("old", "new", "expected"), MISTAKES, ids=[f"{index}: {new[:40]!r}" for index, (_, new, _) in enumerate(MISTAKES)]
)
def test_a_mistake_is_named_with_its_line(file: Path, old: str, new: str, expected: str) -> None:
    line = refusal(_changed(file, old, new))
    assert line.startswith(expected) if expected.startswith(":") else expected in line
    assert re.match(r":\d+: ", line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1: a study file is a mapping of question, name, data, base"),
        ("just words", ":1: a study file is a mapping of"),
        ("- a\n- b", ":1: a study file is a mapping of"),
        ("a: 1\n---\nb: 2", ":2: not YAML: but found another document"),
        ("a: " + "[" * 3000, ":1: nested too deeply"),
        ("a: " + "9" * 5000, ":1: a number of 5000 digits"),
        ("x" * 2_000_000, ": more than 1000000 bytes are too many"),
    ],
)
def test_what_is_no_study_file_is_refused(file: Path, text: str, expected: str) -> None:
    assert refusal(file, text).startswith(expected)


def test_what_has_no_end_is_not_read_to_its_end() -> None:
    assert refusal(Path("/dev/zero")).startswith(": more than 1000000 bytes are too many")


def test_files_that_cannot_be_read(file: Path) -> None:
    assert refusal(file.with_name("ty.yaml")).startswith(": no such file; did you mean ")
    assert refusal(file.parent).startswith(": cannot be read (Is a directory)")
    file.write_bytes(b"question: \xff\xfe")
    assert refusal(file) == ": not a text in UTF-8; is it the right file?"
    odd = file.with_name("My study.yaml")
    assert refusal(odd, GOOD).startswith(":2: the file's name My study cannot name a study; add `name:`")
    odd.write_text("name: mine\n" + GOOD)
    assert load_study_file(odd).name == "mine"


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = "{a: 1e-3, b: 010, c: no, d: 0x1f, e: .5, f: 2024-01-01, g: ~, h: '1', i: -3, j: 1., "
    text += "k: True, l: 1:30, m: -.inf}"
    data = parse_yaml(text).data
    assert data == {
        "a": 1e-3, "b": 10, "c": "no", "d": 31, "e": 0.5, "f": "2024-01-01", "g": None, "h": "1", "i": -3, "j": 1.0,
        "k": True, "l": "1:30",
        "m": float("-inf"),
    }  # fmt: skip


def test_siblings_whose_grids_differ_are_refused() -> None:
    data = {
        "question": "?",
        "per": "softmax_variant",
        "compare": ["softmax", "polymax"],
        "sampler": "grid",
        "budget": {"horizon": 9},
    }
    with pytest.raises(TunemaxError, match="grids differ in size"):
        define({**data, "space": {"polymax.power": [2, 3], "n_head": [1, 2]}}, name="q")
    assert define({**data, "space": {"n_head": [1, 2]}}, name="q").budget.trials == 2
    with pytest.raises(TunemaxError, match="the grid has 2 points"):
        define({**data, "space": {"n_head": [1, 2]}, "budget": {"trials": 3, "horizon": 9}}, name="q")


def test_definitions_of_a_newer_tunemax_are_refused(file: Path) -> None:
    stored = json.loads(load_study_file(file).to_json())
    with pytest.raises(TunemaxError, match="newer tunemax"):
        StudyDefinition.from_json(json.dumps({**stored, "quantum": True}))


def test_the_schema_knows_fields_help_and_ranges() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]["base"]["properties"]) == set(all_specs()) - set(OWNED)
    rate = schema["properties"]["base"]["properties"]["learning_rate"]
    assert rate["description"] == all_specs()["learning_rate"].help
    assert (rate["exclusiveMinimum"], rate["maximum"], rate["default"]) == (0, 10, 5e-3)
    assert "consmax" in schema["properties"]["base"]["properties"]["softmax_variant"]["enum"]


@pytest.mark.parametrize(
    "wrong",
    [
        "n_layr: 2", "n_layer: 0", "n_layer: two", "n_layer: [2, 4]", "schedule: cosin", "max_iters: 5", "compare: []",
        "per: dataset", "{lo: 1e-4}", "{choices: 0.1}", "[0.1]", "0.1", "device: [cpu, cuda]",
        "data_start: default", "bias: {low: 0, high: 1}",
        "trials: 0",
        "trails: 5", "question: a\nspeed: 1", "question: a\nworkers: 0", "question: a\nsampler: tep",
        "question: 5", "{trials: 5}",
    ],
)  # fmt: skip
def test_the_schema_refuses_what_it_can(wrong: str, editor: jsonschema.Draft202012Validator) -> None:
    old = next(old for old, new, _ in MISTAKES if new == wrong)
    editor.validate(parse_yaml(GOOD).data)
    with pytest.raises(jsonschema.ValidationError):
        editor.validate(parse_yaml(GOOD.replace(old, wrong)).data)


# Property tests: no text makes the parser fail with anything but a TunemaxError, and every definition survives being
# stored.

KEYS = [*StudyDefinition.model_fields, "trials", "horizon", "low", "high", "log", "step", "choices", *all_specs()]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([*KEYS, "default", "grid", "softmax", 10**400, 1e308]),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=5)), inner, max_size=4),
    ),
    max_leaves=20,
)


def accepts_or_refuses(text: str) -> None:
    try:
        study = define(parse_yaml(text).data, name="q")
    except TunemaxError as error:
        line = str(error)
    else:
        assert StudyDefinition.from_json(study.to_json()) == study
        return
    assert line.isprintable()


@settings(max_examples=150)
@given(st.one_of(st.text(), st.text(alphabet="{}[]:,-?&*!|>'\"%@` \n\tab1.e")))
def test_no_text_breaks_the_parser(text: str) -> None:
    accepts_or_refuses(text)


@settings(max_examples=200)
@given(st.data())
def test_no_data_breaks_the_checks(data: st.DataObject) -> None:
    study: dict[str, Any] = parse_yaml(GOOD).data
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from([study, *(part for part in study.values() if isinstance(part, dict))]))
        place[data.draw(st.sampled_from([*place, *KEYS]))] = data.draw(anything)
    accepts_or_refuses(yaml.safe_dump(study, allow_unicode=True))


@st.composite
def dimension(draw: st.DrawFn, name: str) -> Any:
    spec = all_specs()[name]
    search = spec.declared.search
    if isinstance(search, Range) and draw(st.booleans()):
        ends = st.floats(search.low, search.high) if spec.is_scalar else st.integers(int(search.low), int(search.high))
        low, high = sorted(draw(st.lists(ends, min_size=2, max_size=2, unique=True)))
        return {"low": low, "high": high, "log": search.log and low > 0}
    known = options(spec) or (search.values if isinstance(search, Choices) else ())
    if len(known) > 1 and draw(st.booleans()):
        return draw(st.lists(st.sampled_from(known), min_size=2, unique=True))
    return "default"


WORK: list[dict[str, Any]] = [
    {"horizon": 10**6, "equal": "iterations"},
    {"tokens": 2e6},
    {"tokens": 10**9, "looks": 7},
    {"flops": 1.5e12},
    {"seconds": 20},
    {"seconds": 0.5, "looks": 1},
]


@st.composite
def study_data(draw: st.DrawFn) -> dict[str, Any]:
    specs = all_specs()
    free = [
        name
        for name, spec in specs.items()
        if spec.group == "training" and spec.declared.search and not spec.depends_on
    ]
    names = draw(st.lists(st.sampled_from(free), min_size=1, max_size=4, unique=True))
    compare = draw(st.lists(st.sampled_from(sorted(variants())), min_size=1, unique=True))
    own = [
        name
        for name, spec in specs.items()
        if name.partition(".")[0] in compare and spec.declared.search and spec.depends_on == {"softmax_variant"}
    ]
    own = [name for name in own if name != "strongermax.learn_obo"]
    names += draw(st.lists(st.sampled_from(own), max_size=3, unique=True)) if own else []
    return {
        "question": draw(st.text(min_size=1, max_size=20).filter(lambda text: not steering(text))),
        "name": draw(st.from_regex(r"[a-z0-9_][a-z0-9_-]{0,19}", fullmatch=True)),
        "base": draw(
            st.fixed_dictionaries(
                {"feedback_every": st.just(1)} if "feedback_share" in names else {},  # it writes before the end
                optional={"n_layer": st.integers(1, 9), "dropout": st.floats(0, 0.9), "tie_weights": st.booleans()},
            )
        ),
        "per": "softmax_variant",
        "compare": compare,
        "space": {name: draw(dimension(name)) for name in names},
        "sampler": draw(st.sampled_from(["tpe", "random", "qmc", "cmaes", "gp", {"name": "tpe", "startup": 7}])),
        "pruner": draw(st.sampled_from(["none"] if set(names) & set(SHAPE) else PRUNERS)),
        "budget": {
            "trials": draw(st.integers(1, 99)),
            **draw(st.sampled_from(WORK if {"batch_size", "feedback_share"} & set(names) else [*WORK, {"horizon": 1}])),
            "run_seconds": draw(st.none() | st.floats(1, 1e6)),
        },
        "seed": draw(st.integers(0, 2**53)),
        "workers": draw(st.integers(1, 99)),
        "slots": draw(st.integers(1, 99)),
    }


class Quoted(yaml.SafeDumper):
    """PyYAML leaves text such as 08 and 1e5 bare, which are numbers in YAML 1.2, as study files are read."""


Quoted.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


@settings(max_examples=40)
@given(study_data())
@example(
    {"name": "08", "question": "1e5", "space": {"learning_rate": [0.1, 0.2]}, "budget": {"trials": 1, "horizon": 1}}
)
def test_every_valid_study_survives_its_file_and_its_storage(data: dict[str, Any]) -> None:
    study = define(data, name="unused")
    assert define(parse_yaml(yaml.dump(data, Dumper=Quoted, allow_unicode=True)).data, name="unused") == study
    assert define(parse_yaml(study_file(study)).data, name="unused") == study
    again = StudyDefinition.from_json(study.to_json())
    assert again == study
    assert again.to_json() == study.to_json()
    assert again.siblings() == study.siblings()
    written = json.loads(study.to_json())
    assert all(type(value) is type(again.base[name]) for name, value in written["base"].items())


def test_a_fault_can_be_sent_to_another_process() -> None:
    fault = pickle.loads(pickle.dumps(Fault(("space", "beta1"), "too large")))
    assert (fault.where, str(fault)) == (("space", "beta1"), "space.beta1: too large")
