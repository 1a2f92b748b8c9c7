"""Exploration files: the study that is made of one trains what the file means, each training once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tunemax.gpt.config import PARTS, Config, all_specs
from tunemax.gpt.softmax import Variant
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.exploration import names
from tunemax.search.question.exploration.study import study
from tunemax.search.question.exploration.sweep import Sweep, sweep
from tunemax.search.question.schema import study_file
from tunemax.search.question.study_file import define
from tunemax.search.question.suggest import known_points
from tunemax.search.question.yaml_lines import Fault, parse_documents, parse_yaml

SMALL = """
max_iters: ["400"]
n_layer: [2]
n_head: [2]
n_embd: ["32"]
block_size: [32]
batch_size: [8]
device: ["cuda"]
compile: [true]
dataset: ["shakespeare_char"]
tensorboard_run_name: ["small"]
"""
LISTS = f"""# lists, ranges, conditions
---{SMALL}
seed:
  range: {{start: 42, end: 44, step: 1}}
softmax_variant_attn: ["softmax", "consmax", "strongermax"]
use_post_ln: [true, false]
consmax_initial_beta:
  conditions:
    - ["softmax_variant_attn", "consmax"]
  options: ["2.5", "5.0"]
strongermax_obo:
  conditions: {{softmax_variant_attn: "strongermax"}}
  options: [1.0, "0.5"]
warmup_iters: [50]
"""
GROUPS = f"""
parameter_groups:
  - use_rotary_embeddings: [true]
    use_abs_pos_embeddings: [false]
    tensorboard_run_name: ["group_rotary"]
  - softmax_variant_attn: ["relu2max"]
    relu2max_divisor: ["64.0", "256.0"]
  - n_kv_group: [1]
    mlp_variant: swiglu
    activation_variant: silu
    mlp_expansion_factor: [2]
{SMALL}
dropout: [0.0, "0.1"]
"""
NAMED = f"""
named_static_groups:
  - named_group: "qk_norm"
    use_qk_norm: [true]
    use_qk_norm_scale: [true]
  - named_group: "peri_ln"
    use_pre_ln: [true]
    use_peri_ln: [true]
    use_post_ln: [false]
  - named_group: "rotary"
    named_group_settings:
      use_rotary_embeddings: [true]
      use_abs_pos_embeddings: [false]
  - named_group: "abs"
    named_group_settings: {{use_rotary_embeddings: [false], use_abs_pos_embeddings: [true]}}
  - named_group: "modern"
    named_group_static: ["qk_norm", "peri_ln", "rotary"]
    softmax_variant_attn: ["relu2max"]
    activation_variant: ["squared_relu"]
    n_kv_group: [1]
named_variation_groups:
  - named_group: "positions"
    named_group_alternates: ["rotary", "abs"]
common_group:
{SMALL.replace(chr(10), chr(10) + "  ")}
parameter_groups:
  - named_group_alternates: ["modern", "positions"]
"""


def asked(text: str, **more: Any) -> tuple[Sweep, StudyDefinition]:
    found = sweep(parse_documents(text).data, **more)
    return found, study(found, name="q", source="sweep.yaml")


def trainings(definition: StudyDefinition) -> list[str]:
    """The identity of each training of a grid."""
    siblings = definition.siblings().values()
    return [Config.of({**fixed, **point}).identity for fixed in siblings for point in known_points(definition, fixed)]


def refused(text: str, **more: Any) -> tuple[int, str]:
    """The line and the sentence by which a file is refused."""
    located = parse_documents(text)
    with pytest.raises(Fault) as raised:
        study(sweep(located.data, **more), name="q", source="sweep.yaml")
    return located.line(raised.value.where), raised.value.message


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_lists_with_ranges_and_conditions() -> None:
    found, definition = asked(LISTS)
    assert (found.combinations, len(found.trainings), found.duplicates) == (30, 30, 0)
    assert definition.space.keys() == {
        "softmax_variant",
        "norm_position",
        "seed",
        "constantmax.beta",
        "strongermax.obo",
    }
    assert (definition.budget.horizon, definition.budget.trials, definition.data) == (400, 30, "shakespeare_char")
    assert definition.base["learning_rate"] == 1e-3  # as the sandbox has it, since the file does not say
    assert len(set(trainings(definition))) == 30
    said = [each.text for each in found.said]
    assert "device, compile: left out, decided by the machine that trains" in said
    assert "warmup_iters: means nothing here" in said


def test_groups_are_candidates() -> None:
    found, definition = asked(GROUPS)
    assert found.combinations == len(found.trainings) == len(set(trainings(definition))) == 8
    assert list(definition.candidates.values()) == [
        {
            "attention": "multi_head",
            "mlp": "gelu",
            "mlp_ratio": 4.0,
            "position": "rotary",
            "softmax_variant": "softmax",
        },
        *(
            {
                "attention": "multi_head",
                "mlp": "gelu",
                "mlp_ratio": 4.0,
                "position": "learned",
                "relu2max.divisor": divisor,
                "softmax_variant": "relu2max",
            }
            for divisor in (64.0, 256.0)
        ),
        {
            "attention": "multi_query",
            "mlp": "swiglu",
            "mlp_ratio": 3.0,  # of two thirds, which makes twice the width
            "position": "learned",
            "softmax_variant": "softmax",
        },
    ]
    assert list(definition.space) == ["dropout"]


def test_named_groups_with_alternates_name_the_candidates() -> None:
    found, definition = asked(NAMED)
    assert found.combinations == len(found.trainings) == 3
    assert [*definition.candidates] == ["qk_norm-peri_ln-rotary-modern", "rotary-positions", "abs-positions"]
    modern = Config.of(next(iter(definition.siblings().values()))).active()
    parts = {"softmax_variant": "relu2max", "attention": "multi_query", "mlp": "relu2", "norm": "rms", "qk_norm": "l2"}
    assert parts | {"norm_position": "peri", "position": "rotary", "qk_norm_scale": True} == {
        name: modern[name] for name in (*parts, "norm_position", "position", "qk_norm_scale")
    }
    assert definition.space == {}
    assert definition.budget.trials == 1
    misspelt = NAMED.replace("use_qk_norm_scale", "use_qk_nrm_scale")
    line, sentence = refused(misspelt)
    assert line == line_of(misspelt, "use_qk_nrm_scale")
    assert sentence == "use_qk_nrm_scale: no such setting of the sandbox; did you mean `use_qk_norm_scale`?"


BASE: dict[str, list[Any]] = {
    "softmax_variant_attn": ["softmax", "consmax", "softermax"],
    "n_layer": [1, "2", 3],
    "decay_lr": [True, False],
    "seed": [1, "2", 3],
    "device": ["cpu", "cuda"],
}
GROUPED: dict[str, list[Any]] = {
    "learning_rate": ["1e-3", 0.002],
    "use_abs_pos_embeddings": [True, False],
    "n_kv_group": [1, "6"],
    "warmup_iters": ["70", 350],
}
REFERRED: dict[str, list[Any]] = {
    "consmax_initial_beta": ["1.0", 2.5, "4"],
    "softermax_use_xmax": [True, False],
    "mlp_variant": ["mlp", "swiglu"],
    "activation_variant": ["gelu", "relu"],
}


@st.composite
def written(draw: st.DrawFn, pool: Mapping[str, list[Any]], least: int = 0) -> dict[str, Any]:
    """Some settings, each in one of the ways in which it can be written."""
    found: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from(list(pool)), unique=True, min_size=least, max_size=3)):
        values = draw(st.lists(st.sampled_from(pool[name]), min_size=1, max_size=2))
        ways = ["list", "one", "conditions"] + ["range"] * (name in ("n_layer", "seed"))
        match draw(st.sampled_from(ways)):
            case "one":
                found[name] = values[0]
            case "range":
                found[name] = {"range": {"start": 1, "end": draw(st.integers(1, 3))}}
            case "conditions":
                other = draw(st.sampled_from(list(BASE)))
                conditions = [[other, draw(st.sampled_from(BASE[other]))]]
                found[name] = {"conditions": conditions, "options": values}
            case _:
                found[name] = values
    return found


@st.composite
def block(draw: st.DrawFn) -> dict[str, Any]:
    found = draw(written(BASE, least=1))
    named = [{"named_group": f"g{index}", **draw(written(REFERRED))} for index in range(draw(st.integers(0, 2)))]
    groups = [draw(written({**BASE, **GROUPED})) for _ in range(draw(st.integers(0, 2)))]
    if named:
        found["named_variation_groups"] = named
        for group in groups or [found]:
            group["named_group_alternates"] = [each["named_group"] for each in named]
    return {**found, "parameter_groups": groups} if groups else found


def meant(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of a block, by the rules as they are told of the sandbox's runner."""
    plain = {key: value for key, value in block.items() if not key.startswith(("named_", "parameter_"))}
    named = {group["named_group"]: group for group in block.get("named_variation_groups", [])}
    for group in block.get("parameter_groups", [{}]):
        for name in group.get("named_group_alternates", block.get("named_group_alternates", [None])):
            merged = {**plain, **group, **named.get(name, {})}
            merged = {key: value for key, value in merged.items() if not key.startswith("named_")}
            found: list[dict[str, Any]] = [{}]
            for key, value in merged.items():
                if not (isinstance(value, dict) and "conditions" in value):
                    if isinstance(value, dict):
                        value = list(range(1, value["range"]["end"] + 1))
                    found = [
                        {**each, key: one} for each in found for one in (value if isinstance(value, list) else [value])
                    ]
            for key, value in merged.items():
                if isinstance(value, dict) and "conditions" in value:
                    ((other, needed),) = value["conditions"]
                    found = [
                        {**each, **chosen}
                        for each in found
                        for chosen in (
                            [{key: one} for one in value["options"]] if str(each.get(other)) == str(needed) else [{}]
                        )
                    ]
            yield from found


SANDBOX = {"dataset": "shakespeare_char", "max_iters": 3500, "n_head": 6, "n_embd": 384, "block_size": 256}
SANDBOX |= {"batch_size": 64, "norm": "rms", "init_std": 0.02, "grad_clip": 1.0}


def trained(given: Mapping[str, Any]) -> str:
    """The identity of what a combination trains, by the settings of the three pools alone."""
    variant = given.get("softmax_variant_attn", "softmax")
    gated = given.get("mlp_variant") == "swiglu"
    mlp = str(given.get("activation_variant", "gelu"))
    rate = float(given.get("learning_rate", 1e-3))
    fields: dict[str, Any] = {
        **SANDBOX,
        "seed": int(given.get("seed", 1337)),
        "n_layer": int(given.get("n_layer", 6)),
        "learning_rate": rate,
        "softmax_variant": variant,
        "position": "learned" if given.get("use_abs_pos_embeddings", True) else "none",
        "attention": "multi_query" if str(given.get("n_kv_group")) == "1" else "multi_head",
        "mlp": {"gelu": "geglu", "relu": "reglu"}[mlp] if gated else mlp,
        "mlp_ratio": 6.0 if gated else 4.0,
    }
    if given.get("decay_lr"):
        fields |= {"schedule": "cosine", "min_lr_ratio": float(f"{1e-4 / rate:.12g}")}
        fields["warmup_fraction"] = float(f"{int(given.get('warmup_iters', 100)) / 3500:.12g}")
    else:
        fields |= {"schedule": "constant", "warmup_fraction": 0.0}
    if variant == "consmax":
        fields |= {"consmax.beta": float(given.get("consmax_initial_beta", 2.5)), "consmax.gamma_form": "raw"}
    if variant == "softermax":
        fields["softermax.subtract_max"] = given.get("softermax_use_xmax", True)
    return Config.of(fields).identity


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(st.lists(block(), min_size=1, max_size=2), st.booleans())
def test_a_study_trains_what_the_file_means_each_once(blocks: list[dict[str, Any]], as_json: bool) -> None:
    combinations = [combination for each in blocks for combination in meant(each)]
    expected = {trained(each) for each in combinations}
    assume(1 < len(expected) <= 40 and len(combinations) <= 100)
    text = json.dumps(blocks) if as_json else yaml.safe_dump_all(blocks)
    by_seed: dict[str, set[str]] = {}
    for each in combinations:
        by_seed.setdefault(str(each.get("seed", 1337)), set()).add(trained({**each, "seed": 1}))
    if len(set(map(frozenset, by_seed.values()))) > 1:
        assert refused(text)[1].startswith("seed: not the same for all combinations")
        return
    found, definition = asked(text)
    assert found.combinations == len(combinations)
    assert found.duplicates == len(combinations) - len(expected)
    assert sorted(trainings(definition)) == sorted(expected)
    again = define(parse_yaml(study_file(definition)).data, name="")
    assert again == definition


TRANSLATED: list[tuple[str, dict[str, Any]]] = [
    ("n_layer: 3", {"n_layer": 3, "n_head": 6, "norm": "rms", "norm_position": "pre", "schedule": "constant"}),
    ("{batch_size: 8, gradient_accumulation_steps: 4}", {"batch_size": 32}),
    ("dtype: bfloat16", {"precision": "bf16"}),
    ("dtype: float16", {"precision": "fp32"}),
    (
        "{decay_lr: true, warmup_iters: 350, learning_rate: 1e-3, min_lr: 2e-4}",
        {"schedule": "cosine", "warmup_fraction": 0.1, "min_lr_ratio": 0.2},
    ),
    ("{lr_scheduler: cosine, cosine_t_max: 3500}", {"schedule": "cosine", "warmup_fraction": 0.0, "min_lr_ratio": 0.0}),
    ("optimizer: sgd", {"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 0.1}),
    ("{adamw_weight_decay: 0.01, weight_decay: 0.3}", {"weight_decay": 0.01}),
    ("{optimizer: lion, adamw_weight_decay: 0.01}", {"weight_decay": 0.1}),
    ("norm_variant_attn: layernorm", {"norm": "layer"}),
    ("use_post_ln: true", {"norm_position": "post"}),
    ("use_peri_ln: true", {"norm_position": "peri"}),
    (
        "{use_rotary_embeddings: true, use_abs_pos_embeddings: false, rope_length: 32}",
        {"position": "rotary", "rope_share": 0.5},
    ),
    ("use_abs_pos_embeddings: false", {"position": "none"}),
    ("{mlp_variant: swiglu, mlp_size: 1024}", {"mlp": "geglu", "mlp_ratio": 4.0}),
    ("{activation_variant: squared_relu, mlp_size: 768}", {"mlp": "relu2", "mlp_ratio": 2.0}),
    ("window_size: 31", {"window": 32}),
    ("n_kv_group: 6", {"attention": "multi_head"}),
    ("n_kv_group: 3", {"attention": "grouped_query", "n_kv_head": 3}),
    (
        "{attention_variant: infinite, use_concat_heads: true, n_qk_head_dim: 100, n_v_head_dim: 100, n_kv_group: 1}",
        {"attention": "multi_query", "head_dim": 100},
    ),
    ("{use_qk_norm: true, use_qk_norm_scale: true}", {"qk_norm": "l2", "qk_norm_scale": True, "v_norm": "none"}),
    ("{use_flash_lobo: true, use_flash_lobo_per_head: true}", {"attention_sink": True}),
    (
        "softmax_variant_attn: consmax",
        {"constantmax.beta": 2.5, "constantmax.gamma_form": "raw", "constantmax.sharing": "layer"},
    ),
    ("{softmax_variant_attn: constantmax, consmax_initial_beta: 4}", {"constantmax.beta": 4.0}),
    ("{softmax_variant_attn: consmax, consmax_use_euler_base: false, consmax_base: 3}", {"constantmax.base": 3.0}),
    ("softmax_variant_attn: consmax_v2", {"constantmax.sharing": "head", "constantmax.gamma_form": "log"}),
    (
        "{softmax_variant_attn: saturatingconsmax, consmax_saturation: 8, consmax_learnable_beta: false}",
        {"saturating_constantmax.saturation": 8.0, "saturating_constantmax.learn_beta": False},
    ),
    ("{softmax_variant_attn: sigsoftmax, sigsoftmax_use_euler_base: false}", {"sigsoftmax_base2.base": 2.0}),
    (
        "{softmax_variant_attn: strongermax, strongermax_use_xmax: false, strongermax_obo: 1}",
        {"strongermax.maximum": "guess", "strongermax.guess": 0.0, "strongermax.obo": 1.0},
    ),
    (
        "{softmax_variant_attn: strongermax, strongermax_use_learned_obo_per_head: true, strongermax_obo: 2}",
        {"strongermax.learn_obo": True, "strongermax.sharing": "head", "strongermax.maximum": "row"},
    ),
    ("softmax_variant_attn: sigmoidmax", {"sigmoidmax.divisor": 256.0, "sigmoidmax.bias_by_seq_len": False}),
    (
        "{softmax_variant_attn: relu2max, div_by_seq_len: true, relu2max_divisor: 1}",
        {"relu2max.div_by_seq_len": True, "relu2max.divisor": 1.0},
    ),
    ("{softmax_variant_attn: exppolymax}", {"exppolymax.base": 2.718281828459045, "exppolymax.divisor": 1000.0}),
    ("{softmax_variant_attn: pfla_softmax}", {"pfla_softmax.start": "gelu", "pfla_softmax.learn_height": True}),
]


@pytest.mark.parametrize(("text", "fields"), TRANSLATED, ids=[text for text, _ in TRANSLATED])
def test_a_setting_means_what_the_sandbox_means(text: str, fields: dict[str, Any]) -> None:
    (training,) = sweep(parse_documents(text).data).trainings
    assert fields == {name: training.fields[name] for name in fields}


MALFORMED = [
    ("", "an empty file"),
    ("[]", "an empty list"),
    ("4", "4, expected a block of settings: names with their values"),
    ("- [n_layer]", "expected a block of settings"),
    ("n_layer: []", "n_layer: an empty list leaves no combination"),
    ("n_layer: [[1, 2], 3]", "n_layer = 1 2: expected a whole number"),
    ("n_layer: [{a: 1}]", "n_layer: {'a': 1} among values"),
    ("n_layer: [many]", "n_layer = many: expected a whole number"),
    ("n_layer: [true]", "n_layer = true: expected a whole number"),
    ("bias: [2]", "bias = 2: expected true or false"),
    ("learning_rate: [.inf]", "learning_rate = inf: expected a number"),
    ("n_layr: [1]", "n_layr: no such setting of the sandbox; did you mean `n_layer`?"),
    ("consmax_intial_beta: [1, 2]", "did you mean `consmax_initial_beta`?"),
    ("softmax_variant_attn: [consmx]", "no such softmax variant; did you mean `consmax`?"),
    ("activation_variant: [gelo]", "activation_variant = gelo: nothing that the sandbox has; did you mean `gelu`?"),
    ("dataset: [minipile]", "dataset = minipile: not here"),
    ("dataset: [shakespeare_char, python_stdlib]", "a study has one text"),
    ("max_iters: [100, 200]", "max_iters is 100 and 200: a study has one horizon; make a file of each"),
    ("seed: {range: {start: 1}}", "seed: a range needs its end"),
    ("seed: {range: {start: 1, end: 3, stop: 1}}", "seed: stop is no part of a range; did you mean `step`?"),
    ("seed: {range: {start: 3, end: 1}}", "start is 3 and end 1; a range goes up"),
    ("seed: {range: {start: 1, end: 3, step: 0}}", "step is 0"),
    ("seed: {range: {start: 1, end: 1000000000}}", "more than 100,000 combinations"),
    ("seed: {range: {start: 1, end: x}}", "end is x, expected a number"),
    ("seed: {ranges: {start: 1, end: 3}}", "ranges is no part of a setting; did you mean `range`?"),
    ("seed: {range: 3}", "3, expected a range"),
    ("beta1: {conditions: [[optimizer, adamw]]}", "beta1: has conditions and no options"),
    ("beta1: {conditions: [optimizer], options: [1]}", "expected conditions such as"),
    ("beta1: {conditions: [[optimiser, adamw]], options: [1]}", "optimiser: no such setting of the sandbox"),
    ("parameter_groups: [3]", "3, expected a group"),
    ("parameter_groups: [{parameter_group: []}]", "parameter_group: no such setting of the sandbox"),
    ("common_group: {n_layer: [1, 2]}", "n_layer: what is common to all has one value"),
    ("{common_group: {n_layer: 1}, n_layer: [2]}", "n_layer stands in common_group, which nothing may override"),
    ("named_static_groups: [{n_layer: 1}]", "a group of named_static_groups needs a name"),
    ("named_static_groups: [{named_group: a}, {named_group: a}]", "a: a second group of this name"),
    ("named_group_static: [a]", "a: no such group in named_static_groups"),
    ("{named_variation_groups: [{named_group: a}], named_group_static: [a]}", "a is one of named_variation_groups"),
    ("named_static_groups: [{named_group: a, named_group_static: [a]}]", "a → a: the group leads back to itself"),
    ("parameter_groups: [{named_static_groups: []}]", "named_static_groups stands at the outermost level only"),
    (
        "{named_static_groups: [{named_group: a, n_layer: 1}], named_group_static: [a], n_layer: [2, 3]}",
        "n_layer is [2.0, 3.0] and [1.0] in one combination of groups",
    ),
    ("use_moe: [true]", "use_moe = true: the sandbox has it, tunemax has not"),
    ("quantize_wte: [true]", "quantize_wte = true: the sandbox has it"),
    ("n_head_layerlist: [[2, 4]]", "n_head_layerlist = 2 4: the sandbox has it"),
    (
        "{use_rotary_embeddings: [true, false]}",
        "positions are rotary or a table here, not both; switch one of them off",
    ),
    ("{decay_lr: true, lr_decay_match_max_iters: false, lr_decay_iters: 9}", "decays until the horizon here"),
    ("{decay_lr: true, warmup_iters: 5000}", "warmup_iters = 5000 is above max_iters = 3500; lower it"),
    ("{n_layer: [1, 2], n_head: 5}", "n_embd = 384 is not divisible by n_head = 5"),
    ("polymax_x_intercept: [0]", "one training"),
    ("{softmax_variant_attn: polymax, polymax_x_intercept: [0, -1]}", "polymax.x0 = 0: expected a number"),
    ("{n_layer: [1, 2], use_peri_ln: true, use_post_ln: true}", "norms at peri and post"),
]


@pytest.mark.parametrize(("text", "told"), MALFORMED, ids=[text for text, _ in MALFORMED])
def test_what_cannot_be_imported_is_said(text: str, told: str) -> None:
    line, sentence = refused(text)
    assert told in sentence
    assert line == 1


def test_what_cannot_be_trained_is_left_out_when_asked_for() -> None:
    text = "use_rotary_embeddings: [true, false]\nuse_abs_pos_embeddings: [true, false]\nuse_moe: [false]"
    assert refused(text)[1].endswith("(1 of 4 combinations; --skip-impossible leaves such combinations out)")
    found, definition = asked(text, skip_impossible=True)
    assert (found.combinations, found.impossible, len(found.trainings)) == (4, 1, 3)
    assert definition.compare == ("rotary", "learned", "none")
    text = "use_moe: [true]\nn_layer: [1, 2]"
    assert refused(text, skip_impossible=True)[1].endswith("tunemax has not; leave it out (no combination is left)")


@pytest.mark.parametrize(
    ("conditions", "count"),
    [("[[n_layer, 1], [n_head, 2]]", 5), ("[{n_layer: 1}, {n_head: 2}]", 7), ("{n_layer: 1}", 6)],
)
def test_all_pairs_must_hold_and_one_of_several_mappings(conditions: str, count: int) -> None:
    text = f"n_layer: [1, 2]\nn_head: [2, 3]\ndropout: {{conditions: {conditions}, options: [0.1, 0.2]}}"
    found, definition = asked(text)
    assert found.combinations == len(found.trainings) == len(trainings(definition)) == count


def test_duplicates_and_what_means_nothing_are_told() -> None:
    text = f"{SMALL}softmax_variant_attn: [softmax, consmax]\nconsmax_initial_beta: [1, 2, 3]"
    found, definition = asked(text)
    assert (found.combinations, found.duplicates, definition.budget.trials) == (6, 2, 4)
    (said,) = (each for each in found.said if each.text.startswith("consmax_initial_beta"))
    assert said.text.endswith("means nothing in 3 of 6 combinations")


def test_the_text_can_be_chosen() -> None:
    _, definition = asked("dataset: [minipile, openwebtext]\nn_layer: [1, 2]", data="mine.txt")
    assert definition.data == "mine.txt"


def test_many_values_in_equal_steps_become_a_range() -> None:
    _, definition = asked(
        "softmax_variant_attn: consmax\nconsmax_initial_beta: {range: {start: 0.5, end: 3.0, step: 0.5}}"
    )
    assert yaml.safe_load(study_file(definition))["space"] == {
        "constantmax.beta": {"low": 0.5, "high": 3.0, "log": False, "step": 0.5}
    }
    assert definition.budget.trials == 6


def test_what_is_too_large_for_a_grid_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunemax.search.question.exploration.study.GRID_LIMIT", 5)
    found, definition = asked("n_layer: [1, 2, 3]\ndropout: [0, 0.1]")
    assert len(found.trainings) == 6
    assert (definition.sampler.name, definition.budget.trials) == ("tpe", 200)


@pytest.mark.parametrize("name", [name for name, known in names.NAMES.items() if known.field])
def test_every_setting_of_the_table_is_a_field(name: str) -> None:
    known = names.NAMES[name]
    fields = [known.field]
    if known.variants:
        ours = ["constantmax" if each == names.PER_HEAD else Variant.find(each).name for each in known.variants]
        fields = [f"{variant}.{known.field}" for variant in ours]
    for field in fields:
        spec = all_specs()[field]
        assert spec.annotation is known.kind or known.default in spec.options
        if known.default is not None:
            spec.check(known.default)


def test_every_kind_of_the_table_is_one() -> None:
    for field, kinds in (
        ("norm", names.NORMS.values()),
        ("mlp", (*names.ACTIVATIONS.values(), *names.GATES.values())),
        ("optimizer", names.OPTIMIZERS),
    ):
        assert set(kinds) <= PARTS[field].kinds().keys()


BITS = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 10**6),
        st.floats(allow_nan=False),
        st.sampled_from([*BASE, *GROUPED, *REFERRED, "softmax", "consmax", "range", "a", "", "1e-3"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    *("range", "start", "end", "step", "conditions", "options", "parameter_groups", "common_group"),
                    *("named_static_groups", "named_variation_groups", "named_group", "named_group_static"),
                    *("named_group_alternates", "named_group_variations", "named_group_settings", "n_layer", "seed"),
                    *("softmax_variant_attn", "n_kv_group", "warmup_iters", "decay_lr", "quantize_wte", "x"),
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=16,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(BITS)
def test_whatever_stands_in_a_file_is_a_study_or_a_sentence(data: Any) -> None:
    with contextlib.suppress(Fault):
        found, definition = asked(json.dumps(data))
        assert len(found.trainings) == len(trainings(definition)) or not definition.sampler.is_grid
