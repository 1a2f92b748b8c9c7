"""Configurations: exact round trips, an identity that means what it says, and one line for everything impossible."""

import json
from typing import Any

import pydantic
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from tunemax.gpt.config import Config, all_specs, resolve
from tunemax.gpt.defaults import SCHEMA, UNTIL, defaults_of
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import FieldSpec
from tunemax.gpt.softmax import variants

SPECS = all_specs()
# A configuration with every field that it uses, as released. Never edit what is here: the identity of finished trials
# hangs on it.
RELEASED: dict[str, Any] = {
    "n_layer": 3, "n_head": 4, "n_embd": 48, "block_size": 96, "dropout": 0.1, "bias": True, "position": "rotary",
    "norm_position": "post", "tie_weights": False, "softmax_variant": "constantmax", "constantmax.beta": 1.5,
    "constantmax.gamma": 125.0, "constantmax.base": 2.0, "constantmax.learn_beta": True,

       "constantmax.learn_gamma": True,
    "constantmax.gamma_form": "raw", "constantmax.sharing": "head", "dataset": "shakespeare_char",
    "seed": 7, "max_iters": 500,
    "batch_size": 8, "learning_rate": 0.003, "variant_lr_ratio": 10.0, "schedule": "wsd", "warmup_fraction": 0.02,
    "decay_fraction": 0.3, "min_lr_ratio": 0.05, "weight_decay": 0.01, "beta1": 0.85, "beta2": 0.95, "grad_clip": 0.5,
    "eval_iters": 20, "divergence_margin": 2.0, "precision": "fp32",
}  # fmt: skip
RELEASED_IDENTITY = "ef07b4b79c37ce8d"


def refusal(values: Any) -> str | None:
    """The one line with which a configuration is refused; None if it is taken."""
    try:
        Config.of(values)
    except TunemaxError as error:
        return str(error)
    return None


def values_of(spec: FieldSpec) -> st.SearchStrategy[Any]:
    """All valid values of a field: the whole range that its declaration allows, not only its search range."""
    if spec.name == "softmax_variant":
        return st.sampled_from(sorted(variants()))
    if spec.options:
        return st.sampled_from(spec.options)
    if spec.annotation is str:
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    bounds = {
        key: getattr(limit, key)
        for limit in spec.info.metadata
        for key in ("gt", "ge", "lt", "le")
        if hasattr(limit, key)
    }
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if spec.annotation is int:
        return st.integers(low, high)
    numbers = st.floats(
        low, high, exclude_min="gt" in bounds, exclude_max="lt" in bounds, allow_nan=False, allow_infinity=False
    )
    return numbers.map(lambda number: number + 0.0)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any valid configuration; fields that are not drawn keep their default."""
    names = draw(st.sets(st.sampled_from(sorted(SPECS)), max_size=12))
    values = {name: draw(values_of(SPECS[name])) for name in sorted(names)}
    if draw(st.booleans()):
        values["softmax_variant"] = draw(values_of(SPECS["softmax_variant"]))
    if {"n_head", "n_embd", "position"} & names:
        values["n_head"] = draw(st.integers(1, 128))
        values["n_embd"] = values["n_head"] * 2 * draw(st.integers(1, 64))
    return accepted(values)


def accepted(values: dict[str, Any]) -> Config:
    """The configuration, or another example if these valid values do not go together."""
    try:
        return Config.of(values)
    except TunemaxError:
        assume(False)
        raise


# ---- round trips -----------------------------------------------------------------------------------------------------


@given(configs())
def test_flat_values_make_the_same_configuration_again(config: Config) -> None:
    assert Config.of(config.flat()) == config
    assert Config.of(config.active()).identity == config.identity


@given(configs())
def test_json_and_yaml_round_trips_are_exact(config: Config) -> None:
    for back in (json.loads(json.dumps(config.flat())), yaml.safe_load(yaml.safe_dump(config.flat()))):
        again = Config.of(back)
        assert again == config
        assert {name: type(value) for name, value in again.flat().items()} == {
            name: type(value) for name, value in config.flat().items()
        }
        assert again.identity == config.identity


@given(configs())
def test_text_from_a_command_line_makes_the_same_configuration(config: Config) -> None:
    assert Config.of({name: str(value) for name, value in config.flat().items()}) == config


# ---- identity --------------------------------------------------------------------------------------------------------


@given(configs(), st.sampled_from(sorted(SPECS)), st.data())
def test_identity_changes_exactly_with_what_would_be_trained(config: Config, name: str, data: st.DataObject) -> None:
    value = data.draw(values_of(SPECS[name]))
    before = config.flat().get(name, SPECS[name].default)
    changed = accepted({**config.flat(), name: value})
    matters = SPECS[name].declared.identity and name in {**config.active(), **changed.active()} and value != before
    if renamed(config) or renamed(changed):  # as `test_identity` has it
        assert matters or changed.identity == config.identity
    else:
        assert matters == (changed.identity != config.identity)


def renamed(config: Config) -> bool:
    """Whether it is told apart from others under another name."""
    flat, groups = config.flat(), config._groups()
    return any(flat.get(prefix + name) != value for prefix, g in groups for name, value in g.canonical(config).items())


@pytest.mark.parametrize(
    "inert",
    [
        {"constantmax.gamma": 7},
        {"decay_fraction": 0.5},
        {"variant_lr_ratio": 7},
        {"out_dir": "elsewhere", "tensorboard": False, "log_interval": 1},
        {"eval_interval": 7, "device": "cpu", "compile": True},
    ],
)
def test_identity_ignores_what_changes_nothing(inert: dict[str, Any]) -> None:
    assert (
        Config.of({"softmax_variant": "softmax", "schedule": "cosine", **inert}).identity
        == Config.of({"softmax_variant": "softmax", "schedule": "cosine"}).identity
    )


def test_identity_of_a_released_configuration_never_changes() -> None:
    config = Config.stored(RELEASED)
    later = sorted(
        name
        for name, value in config.active().items()
        if name not in RELEASED and SPECS[name].declared.identity and SPECS[name].declared.neutral != value
    )
    assert not later, (
        f"new fields {later}: give each `neutral=` the value at which older code trained the same thing, and that "
        "default, or that value in tunemax.gpt.defaults"
    )
    assert config.identity == RELEASED_IDENTITY, (
        "a released field was renamed, or its meaning in the identity changed: finished trials are lost"
    )


def test_what_is_stored_keeps_the_defaults_of_its_time() -> None:
    old, new = Config.stored(RELEASED), Config.of(RELEASED)
    assert (old.train.eval_by, new.train.eval_by) == ("windows", "tokens")
    assert old.identity != new.identity
    assert (old.active()["eval_iters"], new.active()["eval_tokens"]) == (20, 20 * 8 * 96)
    for config in (old, new):
        assert Config.stored(config.flat()) == config
    assert not defaults_of(SCHEMA)
    assert all(name in SPECS for values in UNTIL.values() for name in values)


LATER = {name: spec.declared.neutral for name, spec in SPECS.items() if spec.declared.neutral is not None}
"""Fields that joined configurations which existed, and what older code trained."""


@given(configs(), st.sets(st.sampled_from(sorted(LATER)), min_size=1))
def test_a_stored_configuration_has_the_later_fields_of_its_time(config: Config, lacking: set[str]) -> None:
    whole = {name: value for name, value in config.flat().items() if name not in lacking}
    expected = accepted({**config.flat(), **{name: LATER[name] for name in lacking}})
    assert Config.stored(whole) == expected
    assert Config.stored(whole).identity == expected.identity


@pytest.mark.parametrize(
    ("values", "identity"),
    [
        ({"softmax_variant": "strongermax"}, "3b0aa4b667bf8773"),
        ({"softmax_variant": "strongermax", "strongermax.strength": 2.0}, "b913c884fb9237f0"),
        (
            {"softmax_variant": "strongermax", "strongermax.obo": 1.0, "strongermax.maximum": "guess"},
            "59b6264221b9bfd9",
        ),
        (
            {"softmax_variant": "strongermax", "strongermax.divide_by_sum": False, "strongermax.maximum": "guess"},
            "9ef7c56b979ac861",
        ),
        ({"softmax_variant": "polymax", "polymax.y0": 0.0}, "f1e4efb500355d50"),
        ({"softmax_variant": "polymax"}, "52400d9e96602954"),
    ],
)
def test_a_condition_that_came_later_leaves_identities_as_they_were(values: dict[str, Any], identity: str) -> None:
    """All were computed before `maximum`, `guess` and `x0` had their conditions."""
    assert Config.stored(values).identity == identity


def test_what_turned_out_to_be_the_same_training_is_the_same_trial() -> None:
    row = Config.of({"softmax_variant": "strongermax"})
    assert row.replace({"strongermax.maximum": "guess", "strongermax.guess": 3}).identity == row.identity
    flat = Config.of({"softmax_variant": "polymax", "polymax.y0": 0})
    assert flat.replace({"polymax.x0": -20}).identity == flat.identity


# ---- names -----------------------------------------------------------------------------------------------------------


def test_an_alias_is_its_variant() -> None:
    assert Config.of({"softmax_variant": "consmax", "consmax.gamma": 80}) == Config.of(
        {"softmax_variant": "constantmax", "constantmax.gamma": 80}
    )
    assert resolve("consmax.gamma") == "constantmax.gamma"


@pytest.mark.parametrize("variant", variants().values(), ids=lambda variant: variant.name)
def test_every_alias_reaches_every_field_of_its_variant(variant: Any) -> None:
    for alias in variant.aliases:
        assert Config.of({"softmax_variant": alias}).softmax.name == variant.name
        for field in variant.model_fields:
            assert resolve(f"{alias}.{field}") == f"{variant.name}.{field}"


def test_only_the_chosen_variants_fields_are_held() -> None:
    config = Config.of({"softmax_variant": "softmax", "constantmax.gamma": 80})
    assert not any(name.startswith("constantmax.") for name in config.flat())


def test_replacing_the_variant_takes_its_defaults() -> None:
    config = Config.of({"softmax_variant": "softmax"}).replace({"softmax_variant": "consmax", "n_layer": 2})
    assert config.flat()["constantmax.gamma"] == SPECS["constantmax.gamma"].default
    assert config.model.n_layer == 2


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_layr": 2}, "n_layr: no such field; did you mean `n_layer`?"),
        ({"constantmx.gamma": 2}, "constantmx.gamma: no such field; did you mean `constantmax.gamma`?"),
        ({"consmax.gama": 2}, "consmax.gama: no such field; did you mean `constantmax.gamma`?"),
        ({"softmax_variant": "softermx"}, "softmax_variant = softermx: no such variant; did you mean `softermax`?"),
        ({"softmax_variant": 3}, f"softmax_variant = 3: expected one of {', '.join(variants())}"),
        ({"n_head": 5}, "n_embd = 64 is not divisible by n_head = 5; change one of them"),
        (
            {"n_embd": 12, "n_head": 4, "position": "rotary"},
            "a head's width is 3; rotary positions turn pairs of numbers: choose an even width",
        ),
        ({"dropout": 1}, "dropout = 1: expected a number ≥ 0 and < 1"),
        ({"learning_rate": "fast"}, "learning_rate = fast: expected a number > 0 and ≤ 10"),
        (
            {"consmax.gamma": 1, "constantmax.gamma": 2},
            "constantmax.gamma: given twice, also under another name; keep one",
        ),
        ({3: 4}, "3: no such field"),
    ],
)
def test_the_impossible_is_refused_in_one_line_with_its_remedy(values: Any, message: str) -> None:
    assert refusal(values) == message


def test_a_bad_value_of_a_variant_that_is_not_chosen_is_refused_too() -> None:
    message = refusal({"softmax_variant": "softmax", "constantmax.gamma": 0})
    assert message is not None
    assert message.startswith("constantmax.gamma = 0: expected a number")


@given(
    st.dictionaries(
        st.sampled_from(sorted(SPECS)) | st.text(st.characters()),
        st.text(st.characters()) | st.integers() | st.floats(),
    )
)
def test_any_names_and_values_are_taken_or_refused_in_one_line(values: dict[str, Any]) -> None:
    message = refusal(values)
    if message is None:
        config = Config.of(values)
        assert Config.of(config.flat()) == config
    else:
        assert message.isprintable()
        assert len(message) < 400


def test_a_configuration_cannot_be_changed() -> None:
    config = Config.of()
    for target, name, value in [
        (config, "model", config.model),
        (config.model, "n_layer", 2),
        (config.softmax, "name", "other"),
    ]:
        with pytest.raises((pydantic.ValidationError, AttributeError)):
            setattr(target, name, value)


# ---- what may share a trainer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n, spec in SPECS.items() if spec.is_scalar and not spec.declared.shared])
def test_a_number_may_differ_between_stacked_members(name: str) -> None:
    config = Config.of({other: allowed[0] for other, allowed in SPECS[name].when.items() if isinstance(allowed, tuple)})
    others = [
        value for value in (-2.5, 0.6, 0.75, 1.25, 2.5) if value != SPECS[name].default and not refusal({name: value})
    ]
    assert others
    config = config.replace({name: others[-1]} if SPECS[name].declared.switch else {})
    assert {config.replace({name: value}).bucket for value in others} == {config.bucket}


@pytest.mark.parametrize(
    ("name", "value"), [("n_layer", 1), ("block_size", 8), ("batch_size", 1), ("precision", "bf16")]
)
def test_a_shape_may_not(name: str, value: Any) -> None:
    assert Config.of({name: value}).bucket != Config.of().bucket
