"""Fields: every declaration makes sense, and every bad value is refused in one line that helps."""

from typing import Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemax.gpt.config import all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Above, Choices, Control, Fields, FieldSpec, Range, explain, setting, shown, specs_of
from tunemax.gpt.numbers import MOST

SPECS = list(all_specs().values())
over_specs = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


class Example(Fields):
    """One field of every kind."""

    count: int = setting(4, "a count", ge=1, le=96)
    rate: float = setting(0.1, "a rate", gt=0, le=10)
    any_number: float = setting(0.0, "a number")
    switch: bool = setting(False, "a switch")
    shape: Literal["round", "square"] = setting("round", "a shape")
    bits: Literal[8, 16] = setting(8, "a width")
    path: str = setting("", "a path")


EXAMPLE = {spec.name: spec for spec in specs_of(Example, "example")}


# ---- what is declared ------------------------------------------------------------------------------------------------


@over_specs
def test_a_default_is_valid_and_of_the_fields_type(spec: FieldSpec) -> None:
    checked = spec.check(spec.default)
    assert checked == spec.default
    assert type(checked) is type(spec.default)


@over_specs
def test_a_search_range_is_valid_and_not_empty(spec: FieldSpec) -> None:
    search = spec.declared.search
    if isinstance(search, Choices):
        assert len(set(search.values)) == len(search.values) >= 2
        assert [spec.check(value) for value in search.values] == list(search.values)
    if isinstance(search, Range):
        assert spec.check(search.low) < spec.check(search.high)
        assert spec.annotation in (int, float)
        assert not search.log or search.low > 0


@over_specs
def test_a_control_moves_between_valid_numbers(spec: FieldSpec) -> None:
    control = spec.declared.control
    if isinstance(control, Control):
        assert spec.is_scalar
        assert spec.check(control.low) < spec.check(control.high)
        assert control.move != "multiplicative" or control.low > 0
        assert control.move != "logit" or 0 <= control.low < control.high <= 1


@over_specs
def test_a_condition_names_fields_and_values_that_exist(spec: FieldSpec) -> None:
    for condition in (spec.when, *spec.any_of):
        for name, allowed in condition.items():
            if isinstance(allowed, Above):
                assert all_specs()[name].is_scalar
                assert all_specs()[name].default in allowed or all_specs()[name].check(allowed.bound + 0.5) in allowed
            else:
                assert [all_specs()[name].check(value) for value in allowed] == list(allowed)


@over_specs
def test_a_field_is_explained_in_one_line(spec: FieldSpec) -> None:
    assert spec.help
    assert "\n" not in spec.help
    assert not spec.help.endswith(".")


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("count", 0, "count = 0: expected a whole number ≥ 1 and ≤ 96"),
        ("count", 97, "count = 97: expected a whole number ≥ 1 and ≤ 96"),
        ("count", "many", "count = many: expected a whole number ≥ 1 and ≤ 96"),
        ("count", 1.5, "count = 1.5: expected a whole number ≥ 1 and ≤ 96"),
        ("count", True, "count = true: expected a whole number ≥ 1 and ≤ 96"),
        ("count", None, "count = None: expected a whole number ≥ 1 and ≤ 96"),
        ("rate", 10.000001, "rate = 10.000001: expected a number > 0 and ≤ 10"),
        ("rate", "nan", "rate = nan: expected a number > 0 and ≤ 10"),
        ("rate", False, "rate = false: expected a number > 0 and ≤ 10"),
        ("rate", True, "rate = true: expected a number > 0 and ≤ 10"),
        ("any_number", float("inf"), "any_number = inf: expected a number"),
        ("switch", "maybe", "switch = maybe: expected true or false"),
        ("switch", 2, "switch = 2: expected true or false"),
        ("shape", "oval", "shape = oval: expected one of round, square"),
        ("shape", ["round"], "shape = ['round']: expected one of round, square"),
        ("bits", 9, "bits = 9: expected one of 8, 16"),
        ("path", 5, "path = 5: expected text"),
    ],
)
def test_a_bad_value_is_refused_with_what_was_expected(name: str, value: object, message: str) -> None:
    with pytest.raises(TunemaxError) as caught:
        EXAMPLE[name].check(value)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", "4", 4),
        ("rate", "1e-3", 0.001),
        ("switch", "true", True),
        ("shape", "square", "square"),
        ("bits", "16", 16),
        ("path", "4", "4"),
    ],
)
def test_text_is_read_as_the_fields_type(name: str, text: str, value: object) -> None:
    checked = EXAMPLE[name].check(text)
    assert checked == value
    assert type(checked) is type(value)


def test_a_negative_zero_is_written_as_zero() -> None:
    assert str(EXAMPLE["any_number"].check(-0.0)) == "0.0"


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=80)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=3,
)


@given(spec=st.sampled_from([*SPECS, *EXAMPLE.values()]), value=anything)
def test_any_value_is_taken_or_refused_in_one_line(spec: FieldSpec, value: object) -> None:
    message = refusal(spec, value)
    if message is None:
        assert spec.check(spec.check(value)) == spec.check(value)
    else:
        assert message.startswith(f"{spec.name} = ")
        assert message.endswith((f": expected {spec.valid()}", f", and no more than {MOST:,}"))
        assert message.isprintable()
        assert len(message) - len(spec.valid()) < 150, "of what was given only the beginning"


def refusal(spec: FieldSpec, value: object) -> str | None:
    try:
        spec.check(value)
    except TunemaxError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "value", [10**5000, "9" * 5000, "\ud800", "a\nb\u2028c\x1b[31m"], ids=["number", "digits", "surrogate", "control"]
)
def test_a_monstrous_value_is_shown_in_a_short_line(value: object) -> None:
    with pytest.raises(TunemaxError) as caught:
        EXAMPLE["rate"].check(value)
    assert len(str(caught.value)) < 120
    assert str(caught.value).isprintable()


# ---- messages for whole groups ---------------------------------------------------------------------------------------


def test_a_group_names_what_it_does_not_know_and_what_it_misses() -> None:
    class Point(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")
        x: int

    def message(values: object) -> str:
        with pytest.raises(pydantic.ValidationError) as caught:
            Point.model_validate(values)
        return explain(caught.value, "point")

    assert message({"x": 1, "y": 2}) == "point.y: no such name here"
    assert message({}) == "point.x: missing"
    assert message({"x": "one"}).startswith("point.x = one: expected a whole number")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1.0, "1"),
        (0.001, "0.001"),
        (2.718281828459045, "2.718281828459045"),
        (2**53, "9007199254740992"),
        ("a b", "a b"),
    ],
)
def test_values_are_shown_as_one_types_them(value: object, text: str) -> None:
    assert shown(value) == text
