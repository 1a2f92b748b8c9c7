"""A run decides beforehand whether to compile and how many members fit, and says so; it is silent where there is
nothing to say."""

from __future__ import annotations

from typing import Any

import pytest

from tunemax.gpt import hardware, matmul
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.matmul import Measured
from tunemax.search.machine import calibration, memory, precision
from tunemax.search.machine.calibration import Shares
from tunemax.search.machine.memory import Footprint
from tunemax.search.machine.plan import plan
from tunemax.search.machine.processes import WorkerSettings
from tunemax.search.question.study_file import define

SMALL = {"n_layer": 2, "n_embd": 32, "block_size": 32, "batch_size": 8}
LARGE = {"n_layer": 6, "n_embd": 192, "n_head": 6, "block_size": 128, "batch_size": 16}


@pytest.fixture(autouse=True)
def a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary CPU without bf16: 80 GFLOP/s, and much memory."""
    measured = Measured(route="default", reason="", gflops=80, errors={})
    monkeypatch.setattr(matmul, "choose", lambda: measured)
    monkeypatch.setattr(hardware, "has_gpu", lambda: False)
    monkeypatch.setattr(hardware, "cpu_flags", lambda: {"avx2"})
    monkeypatch.setattr("tunemax.search.machine.plan.free", lambda: 1e12)
    monkeypatch.setattr("tunemax.search.machine.plan.cores", lambda: 2)
    monkeypatch.setattr(calibration, "remembered", lambda config: None)
    monkeypatch.setattr(precision, "turned", lambda definition, route: None)


def planned(
    base: dict[str, Any], horizon: int, trials: int = 40, space: dict[str, Any] | None = None, slots: int | None = None
) -> WorkerSettings:
    given = {"question": "?", "base": base, "space": {"learning_rate": "default", **(space or {})}}
    definition = define({**given, "budget": {"trials": trials, "horizon": horizon, "equal": "iterations"}}, name="q")
    return plan(definition, trials, None, slots)


def test_a_short_study_trains_eagerly_and_is_told_nothing() -> None:
    assert planned(SMALL, 300) == WorkerSettings(2, 1, 8, None, ())


def test_a_long_study_is_compiled_and_told_what_that_saves() -> None:
    first, longer = planned(LARGE, 3000), planned(LARGE, 6000)
    assert first.compiled
    (line,) = first.lines
    assert line.startswith("compile: on, it saves about ")
    minutes = [int(text.split("about ")[1].split()[0]) for text in (line, *longer.lines)]
    assert 1 < minutes[0] < minutes[1] < 3 * minutes[0]


@pytest.mark.parametrize("chosen", [True, False])
def test_what_the_file_says_of_compiling_stands(chosen: bool) -> None:
    # It is in the trials' own configuration
    assert planned({**LARGE, "compile": chosen}, 3000) == WorkerSettings(2, 1, 2, None, ())


@pytest.mark.parametrize("asked", [{}, {"compile": True}])
def test_without_a_compiler_one_line_says_so_for_all_workers(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    line = "compile: no C++ compiler (no-such-compiler) on this machine; going on without"
    assert planned({**LARGE, **asked}, 3000) == WorkerSettings(2, 1, 2, False, (line,))


def test_nothing_is_compiled_unasked_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_gpu", lambda: True)
    assert planned(LARGE, 3000) == WorkerSettings(2, 1, 8, None, ())  # a GPU, which a small model leaves idle


def test_a_space_of_many_shapes_has_as_many_functions_to_compile() -> None:
    one = {**LARGE, "n_layer": 4}
    assert planned(one, 1500).compiled
    assert planned(one, 350).compiled
    assert not planned(one, 350, space={"dropout": "default"}).compiled  # with and without
    base = {key: value for key, value in LARGE.items() if key not in ("n_layer", "block_size")}
    assert not planned(base, 1500, space={"n_layer": {"low": 1, "high": 8}, "block_size": [32, 64, 96, 128]}).compiled


def test_bf16_is_told_what_it_costs_and_what_it_is_good_for() -> None:
    slow, ranks = planned({**SMALL, "precision": "bf16"}, 300).lines
    assert (
        slow
        == "precision = bf16: this CPU has no instructions for it, so it is slower than fp32; use --precision fp32 here"
    )
    assert ranks.startswith("precision = bf16: winners are confirmed in fp32")


def test_more_workers_than_cores_are_told_of_where_somebody_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunemax.search.machine.plan.cores", lambda: 1)
    assert planned(SMALL, 300) == WorkerSettings(1, 1, 8, None, ())
    given = {
        "question": "?",
        "base": SMALL,
        "space": {"learning_rate": "default"},
        "budget": {"trials": 9, "horizon": 9},
    }
    found = plan(define(given, name="q"), 9, workers=2)
    assert (found.workers, found.lines) == (2, ("2 workers on 1 core: they will slow each other down",))


def test_the_larger_the_model_the_fewer_members_are_stacked() -> None:
    """As many as gain something, by benchmarks/RESULTS.md: 2 x 32, 4 x 64, 4 x 128, 6 x 192."""
    middle = {"n_layer": 4, "n_head": 4, "block_size": 64, "batch_size": 12}
    shapes = [SMALL, {**middle, "n_embd": 64}, {**middle, "n_embd": 128}, LARGE]
    assert [planned(shape, 300).slots for shape in shapes] == [8, 4, 2, 2]
    assert planned(LARGE, 300, slots=16).slots == 16


def test_a_calibration_is_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "remembered", lambda config: Shares(1, 2, 3))
    monkeypatch.setattr(hardware, "has_gpu", lambda: True)
    assert [planned({**SMALL, "device": device}, 300).slots for device in ("auto", "cpu")] == [8, 3]


@pytest.mark.parametrize(
    ("gigabytes", "fitting"),
    [(100, (2, 8)), (2.36, (2, 8)), (2.35, (2, 7)), (1.2, (2, 3)), (0.5, (1, 2)), (0.1, (1, 1))],
)
def test_as_many_members_are_trained_as_memory_has_room_for(
    gigabytes: float, fitting: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of 200 MB and 100 MB a member; 15 % of what is free are left alone."""
    monkeypatch.setattr("tunemax.search.machine.plan.free", lambda: gigabytes * 1e9)
    monkeypatch.setattr(memory, "measured", lambda configs, slots, route: Footprint(2e8, 1e8))
    found = planned({**SMALL, "device": "cpu"}, 300)
    assert (found.workers, found.slots) == fitting
    if fitting == (2, 8):
        assert found.lines == ()
    else:
        assert found.lines == (
            f"memory: 2 x 8 members need 2.0 GB, and {gigabytes:.1f} GB are free: training {fitting[0]} x {fitting[1]}",
        )


def test_workers_that_may_compile_have_room_for_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunemax.search.machine.plan.free", lambda: 2.36e9)
    monkeypatch.setattr(memory, "measured", lambda configs, slots, route: Footprint(2e8, 1e8))
    found = [planned({**SMALL, "compile": chosen}, 300) for chosen in (False, True)]
    assert [(each.workers, each.slots) for each in found] == [(2, 8), (2, 2)]
    assert found[1].lines == ("memory: 2 x 8 members need 3.1 GB, and 2.4 GB are free: training 2 x 2",)


def test_memory_is_measured_only_where_it_may_be_short_and_for_the_largest_that_is_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def measured(configs: Any, slots: int, route: str) -> Footprint:
        seen.append((configs[0].model.n_layer, configs[0].model.n_embd, slots))
        return Footprint(1.0, 1.0)

    monkeypatch.setattr(memory, "measured", measured)
    planned(LARGE, 10)
    assert seen == []
    monkeypatch.setattr("tunemax.search.machine.plan.free", lambda: 5e9)
    base = {key: value for key, value in LARGE.items() if key != "n_layer"}
    planned(base, 10, space={"n_layer": {"low": 2, "high": 12}}, slots=4)
    assert seen == [(12, 192, 4)]


def test_a_calibrated_machine_is_used_as_it_was_found_unless_somebody_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibration, "remembered", lambda config: Shares(1, 2, 4))
    assert planned(SMALL, 300) == WorkerSettings(1, 2, 4, None, ())
    assert planned(SMALL, 300, slots=3) == WorkerSettings(1, 2, 3, None, ())
    given = {
        "question": "?",
        "base": SMALL,
        "space": {"learning_rate": "default"},
        "budget": {"trials": 9, "horizon": 9},
    }
    assert plan(define({**given, "workers": 2}, name="q"), 9) == WorkerSettings(2, 1, 4, None, ())
    assert plan(define({**given, "workers": 2, "slots": 2}, name="q"), 9, workers=1) == WorkerSettings(
        1, 1, 2, None, ()
    )


def test_a_measurement_that_does_not_fit_lowers_the_members_instead_of_refusing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dies(configs: Any, slots: int, route: str) -> Footprint:
        raise TunemaxError("memory: not enough for 4 members of a worker")

    monkeypatch.setattr("tunemax.search.machine.plan.free", lambda: 2e9)
    monkeypatch.setattr(memory, "measured", dies)
    found = planned(SMALL, 300)
    assert (found.workers, found.slots) == (2, 2)
    assert found.lines == ("memory: not enough for 4 members of a worker: training 2 x 2",)
