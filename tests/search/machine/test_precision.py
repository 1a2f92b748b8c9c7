"""A study in bf16 is warned before it begins if bf16 turns the order of clearly different candidates around."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tunemax.gpt.errors import TunemaxError
from tunemax.search.machine import precision
from tunemax.search.machine.precision import turned
from tunemax.search.machine.processes import aside
from tunemax.search.question.definition import StudyDefinition

Defined = Callable[..., StudyDefinition]


def found(monkeypatch: pytest.MonkeyPatch, fp32: list[float], bf16: list[float]) -> None:
    monkeypatch.setattr(precision, "aside", lambda *_, route: {"fp32": fp32, "bf16": bf16})


@pytest.mark.parametrize(
    ("fp32", "bf16", "told"),
    [
        ([1.0, 2.0, 3.0], [1.1, 2.1, 3.3], None),
        ([1.0, 1.005, 3.0], [1.1, 1.0, 3.3], None),  # the first two are a near tie in fp32 too
        ([1.0, 2.0, 3.0], [2.1, 2.0, 3.0], "it turned 1 of 3 clear differences around, one of 1.000 nats"),
        ([1.0, 2.0, 3.0], [float("nan"), 2.0, 3.0], "it turned 2 of 3 clear differences around, one of 2.000 nats"),
    ],
)
def test_only_a_clear_difference_that_is_turned_around_is_told(
    fp32: list[float], bf16: list[float], told: str | None, defined: Defined, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, fp32, bf16)
    line = turned(defined(base={"precision": "bf16"}), "default")
    assert line is None if told is None else told in str(line)


@pytest.mark.timeout(300)
def test_the_probe_trains_candidates_of_the_space_in_both_precisions(
    defined: Defined, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For real, in a process of its own: bf16 is near fp32 and not the same."""
    seen: dict[str, Any] = {}

    def real(function: Callable[..., Any], *arguments: Any, route: Any) -> Any:
        seen["configs"] = arguments[0]
        seen["found"] = aside(function, *arguments, route=route)
        return seen["found"]

    monkeypatch.setattr(precision, "aside", real)
    definition = defined(base={"precision": "bf16"})
    turned(definition, "default")
    assert len({config.identity for config in seen["configs"]}) > 1
    assert {config.train.precision for config in seen["configs"]} == {"fp32"}
    fp32, bf16 = seen["found"]["fp32"], seen["found"]["bf16"]
    assert fp32 != bf16
    assert bf16 == pytest.approx(fp32, abs=0.1)


def test_a_process_that_is_told_off_tells_it_here() -> None:
    with pytest.raises(TunemaxError, match="not like this"):
        aside(_refuse, route="default")


def _refuse() -> None:
    raise TunemaxError("not like this")
