"""A run says beforehand what the user could do better, and is silent where there is nothing to say."""

from __future__ import annotations

from typing import Any

import pytest

from gpt import hardware
from gpt.hardware import Measured
from search.advice import advice
from search.definition import define

SMALL = {"n_layer": 2, "n_embd": 32, "block_size": 32, "batch_size": 8}
LARGE = {"n_layer": 6, "n_embd": 192, "n_head": 6, "block_size": 128, "batch_size": 16}


@pytest.fixture(autouse=True)
def a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary CPU without bf16: 80 GFLOP/s."""
    measured = Measured(route="default", reason="", gflops=80, errors={})
    monkeypatch.setattr(hardware, "choose", lambda: measured)
    monkeypatch.setattr(hardware, "has_gpu", lambda: False)
    monkeypatch.setattr(hardware, "_cpu_flags", lambda: {"avx2"})


def told(base: dict[str, Any], horizon: int, trials: int = 40, space: dict[str, Any] | None = None) -> list[str]:
    given = {"question": "?", "base": base, "space": {"learning_rate": "default", **(space or {})}}
    definition = define({**given, "budget": {"trials": trials, "horizon": horizon}}, name="q")
    return advice(definition, trials, 2)


def test_a_short_study_is_told_nothing() -> None:
    assert told(SMALL, 300) == []


def test_a_long_study_is_told_what_compiling_would_save() -> None:
    (line,) = told(LARGE, 3000)
    assert line.startswith("compile: true in base would save about ")
    longer = told(LARGE, 6000)
    minutes = [int(text.split("about ")[1].split()[0]) for text in (line, *longer)]
    assert 1 < minutes[0] < minutes[1] < 3 * minutes[0]


def test_nothing_is_said_of_compiling_where_it_is_asked_for_or_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told({**LARGE, "compile": True}, 3000) == []
    monkeypatch.setattr(hardware, "has_gpu", lambda: True)
    assert told(LARGE, 3000) == []


def test_a_space_of_many_shapes_has_as_many_functions_to_compile() -> None:
    one = {**LARGE, "n_layer": 4}
    assert told(one, 1500)
    base = {key: value for key, value in LARGE.items() if key not in ("n_layer", "block_size")}
    assert told(base, 1500, space={"n_layer": {"low": 1, "high": 8}, "block_size": [32, 64, 96, 128]}) == []


def test_bf16_is_told_what_it_costs_and_what_it_is_good_for() -> None:
    slow, ranks = told({**SMALL, "precision": "bf16"}, 300)
    assert slow == "precision = bf16: this CPU has no instructions for it, so it is slower than fp32; use --precision fp32 here"
    assert ranks.startswith("precision = bf16: winners are confirmed in fp32")
