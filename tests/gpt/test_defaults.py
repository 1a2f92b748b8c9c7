"""What is stored keeps the defaults of its time, however often they have changed since."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from tunemax.gpt import defaults
from tunemax.gpt.config import Config
from tunemax.gpt.defaults import SCHEMA, defaults_of, of_their_time

HISTORY = st.lists(st.fixed_dictionaries({name: st.integers(0, 2) for name in "abc"}), min_size=1, max_size=6)
"""The defaults of all fields, schema by schema."""


def changes(history: list[dict[str, int]]) -> dict[int, dict[str, Any]]:
    """What is written down of a history: at each schema the defaults that the next one has changed."""
    return {
        schema: {name: value for name, value in old.items() if value != new[name]}
        for schema, (old, new) in enumerate(pairwise(history), 1)
    }


@given(HISTORY)
def test_the_defaults_of_any_schema_are_what_they_were(history: list[dict[str, int]]) -> None:
    with patch.object(defaults, "UNTIL", changes(history)):
        for schema, then in enumerate(history, 1):
            assert {**history[-1], **defaults_of(schema)} == then
        assert defaults_of(len(history)) == {}


@given(HISTORY, st.data())
def test_a_whole_configuration_lacks_only_what_came_later(history: list[dict[str, int]], data: st.DataObject) -> None:
    """A field that came later trained the older ones at its first value, which `UNTIL` has kept."""
    schema = data.draw(st.integers(1, len(history)))
    later = data.draw(st.sampled_from("abc"))
    for before in history[:schema]:
        before[later] = history[min(schema, len(history) - 1)][later]
    with patch.object(defaults, "UNTIL", changes(history)):
        then = history[schema - 1]
        stored = {name: value for name, value in then.items() if name != later}
        assert {**history[-1], **of_their_time(stored)} == then


def test_three_schemas_of_configurations() -> None:
    until = {1: {"eval_by": "windows", "beta2": 0.9}, 2: {"beta2": 0.95}}
    with patch.object(defaults, "UNTIL", until):
        assert [defaults_of(schema).get("beta2") for schema in (1, 2, 3)] == [0.9, 0.95, None]
        assert [defaults_of(schema).get("eval_by") for schema in (1, 2, 3)] == ["windows", None, None]
        assert Config.stored({"beta2": 0.97, "eval_by": "tokens"}).flat()["beta2"] == 0.97
    assert sorted(defaults.UNTIL) == list(range(1, SCHEMA)), "each schema but the last says what has changed after it"
