"""Whichever library multiplies, fp32 stays fp32; the choice is measured once, remembered, and never made behind
anybody's back."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tunemax.gpt import hardware, matmul
from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.matmul import Measured, Route


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, without a measurement, and no route asked for."""
    monkeypatch.setenv("TUNEMAX_DATA", str(tmp_path))
    monkeypatch.delenv(matmul.FORCED, raising=False)
    return tmp_path


def pretend(monkeypatch: pytest.MonkeyPatch, *, gain: float = 1.0, error: float = 2e-7, alike: bool = False) -> None:
    """A machine on which oneDNN is so much faster, and so exact; really, this one's own arithmetic."""
    monkeypatch.setattr(matmul, "_same", lambda pairs: alike)
    monkeypatch.setattr(matmul, "_errors", lambda route, pairs: error if route == "onednn" else 2e-7)
    monkeypatch.setattr(
        matmul, "_speeds", lambda pairs: {"default": [50.0, 40.0, 60.0], "onednn": [50 * gain, 40 * gain, 60 * gain]}
    )
    monkeypatch.setattr(hardware, "has_gpu", lambda: False)


@pytest.mark.parametrize("route", matmul.ROUTES)
def test_products_of_a_chosen_route_are_fp32(route: Route, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against float64, where the route may be taken at all: bf16 would be a thousand times as far away."""
    monkeypatch.setenv(matmul.FORCED, route)
    with contextlib.suppress(TunemaxError):  # a processor on which this route is bf16 must refuse it
        assert matmul.choose().route == route
    chosen = route if matmul.allowed(route) else "default"
    draw = torch.Generator().manual_seed(1)
    a, b = torch.randn(3, 300, 200, generator=draw), torch.randn(3, 200, 100, generator=draw)
    before = torch.get_float32_matmul_precision()
    matmul.take(chosen)
    try:
        assert matmul.current_route() == chosen
        product = torch.bmm(a, b)
    finally:
        torch.set_float32_matmul_precision(before)
    exact = torch.bmm(a.double(), b.double())
    assert float((product - exact).norm() / exact.norm()) < 3e-6


@pytest.mark.parametrize(
    ("found", "route", "reason"),
    [
        ({"gain": 2.2}, "onednn", "oneDNN is 2.20 times as fast"),
        ({"gain": 1.1}, "default", "oneDNN is only 1.10 times as fast"),
        ({"gain": 4.0, "error": 3e-3}, "default", "oneDNN is not fp32 here: its error is 3.0e-03, not 2.0e-07"),
        ({"gain": 2.2, "error": 6e-7}, "onednn", "oneDNN is 2.20 times as fast"),
        ({"alike": True}, "default", "this processor has no other route"),
    ],
    ids=["faster", "hardly faster", "bf16", "another order of sums", "no other"],
)
def test_a_route_is_taken_only_where_it_is_faster_and_as_exact(
    found: dict[str, float], route: Route, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, **found)
    measured = matmul.measure()
    assert (measured.route, measured.reason, measured.gflops) == (route, reason, 50)


def test_a_route_on_which_members_depend_on_their_neighbours_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gain=3)
    multiply = torch.bmm
    monkeypatch.setattr(matmul.torch, "bmm", lambda a, b: multiply(a, b) * (1 + 1e-7 * len(a)))
    measured = matmul.measure()
    assert (measured.route, measured.reason) == (
        "default",
        "with oneDNN a member's numbers would depend on its neighbours",
    )


def test_a_gpu_keeps_its_own_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gain=3)
    monkeypatch.setattr(hardware, "has_gpu", lambda: True)
    assert matmul.measure().route == "default"


def test_a_machine_is_measured_once(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = matmul.choose()
    monkeypatch.setattr(matmul, "measure", lambda: pytest.fail("measured again"))
    assert matmul.choose() == first
    assert first.gflops > 0
    assert set(first.errors) == {"default", "onednn"}
    monkeypatch.setattr(hardware, "processor", lambda: "another machine with the same cache folder")
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        matmul.choose()


def test_a_damaged_memory_is_measured_again(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, gain=2)
    matmul.choose()
    (file,) = (machine / ".machines").glob("*.json")
    file.write_text('{"route": "cuda"}')
    assert matmul.choose().route == "onednn"
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith(f"{file}: unreadable (")
    assert Measured.model_validate_json(file.read_bytes()).route == "onednn"


def test_where_nothing_can_be_remembered_it_is_measured_at_each_start(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, gain=2)
    (machine / ".machines").write_text("a file where the folder should be")
    for _ in range(2):
        assert matmul.choose().route == "onednn"
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert all(line.endswith("this machine is measured at each start") for line in told)


def test_an_unknown_route_is_refused(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(matmul.FORCED, "cublas")
    with pytest.raises(TunemaxError, match=r"^TUNEMAX_MATMUL = cublas: expected default or onednn"):
        matmul.choose()


def test_a_route_that_is_no_fp32_cannot_be_forced(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gain=3, error=3e-3)
    monkeypatch.setenv(matmul.FORCED, "onednn")
    with pytest.raises(TunemaxError, match="would not be exact fp32"):
        matmul.choose()


def test_measuring_leaves_the_process_as_it_was() -> None:
    before = (torch.get_float32_matmul_precision(), torch.get_num_threads(), torch.get_rng_state())
    matmul.measure()
    assert (torch.get_float32_matmul_precision(), torch.get_num_threads()) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_library_that_is_imported_chooses_nothing() -> None:
    program = (
        "import tunemax.gpt.trainer, tunemax.gpt.run, tunemax.search.api, torch; "
        "print(torch.get_float32_matmul_precision())"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        == "highest\n"
    )


def test_a_cpu_without_bf16_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_gpu", lambda: False)
    told = {}
    for flags in ({"avx2"}, {"avx2", "avx512_bf16"}, {"amx_bf16"}, None):
        monkeypatch.setattr(hardware, "cpu_flags", lambda flags=flags: flags)
        told[str(sorted(flags or []))] = matmul.bf16_fault("auto")
    assert [line is not None for line in told.values()] == [True, False, False, False]
    assert matmul.bf16_fault("cuda") is None


def test_products_too_small_for_the_route_are_left_to_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch would hand some of them to oneDNN beside many neighbours and to its own library beside few: other bits."""
    found = matmul.Measured(route="onednn", reason="", gflops=80, errors={})
    monkeypatch.setattr(matmul, "choose", lambda: found)

    def route(width: int, tokens: int) -> str:
        return matmul.route_for(Config.of({"n_embd": width, "n_head": 2, "block_size": tokens}))

    assert route(32, 32) == route(32, 16) == "onednn"
    assert route(16, 16) == route(8, 64) == route(64, 8) == "default"


@pytest.mark.parametrize(("width", "tokens"), [(32, 16), (16, 32), (64, 9)])
def test_above_that_size_members_do_not_depend_on_their_number(width: int, tokens: int) -> None:
    """Every product of a member of one window, stacked one to seven times, in each route that this machine can take."""
    heads, head = 2, width // 2
    draw = torch.Generator().manual_seed(1)
    shapes = [
        (1, tokens, width, width),
        (heads, tokens, head, tokens),
        (heads, tokens, tokens, head),
        (1, width, tokens, 4 * width),
    ]
    for of_member, rows, inner, columns in shapes:
        a = torch.randn(7 * of_member, rows, inner, generator=draw)
        b = torch.randn(7 * of_member, inner, columns, generator=draw)
        for chosen in matmul.ROUTES:
            if matmul.allowed(chosen):
                with matmul._taken(chosen):
                    whole = torch.bmm(a, b)
                    for members in range(1, 7):
                        n = members * of_member
                        assert torch.equal(torch.bmm(a[:n], b[:n]), whole[:n])
