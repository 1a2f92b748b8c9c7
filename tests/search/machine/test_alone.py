"""A training in this very process: its threads, and whether there is memory for it."""

from __future__ import annotations

from typing import Any

import pytest

from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli import main
from tunemax.search.machine import alone

TINY: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4, "device": "cpu"}
LARGE = {"n_layer": 12, "n_head": 12, "n_embd": 768, "block_size": 512, "batch_size": 16, "device": "cpu"}


@pytest.mark.parametrize(
    ("sizes", "expected"), [(TINY, 1), ({"device": "cpu"}, 1), (LARGE, 64)], ids=["tiny", "default", "large"]
)
def test_threads_follow_the_size(sizes: dict[str, Any], expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "cores", lambda: 64)
    assert alone.threads(Config.of(sizes)) == expected


def test_never_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "cores", lambda: 3)
    assert alone.threads(Config.of(LARGE)) == 3


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_embd": 16384, "n_layer": 96, "n_head": 128},
        {"batch_size": 100_000_000},
        {"block_size": 65536, "batch_size": 4096},
    ],
    ids=str,
)
def test_what_cannot_fit_is_refused_in_one_line(sizes: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *(f"--{name}={value}" for name, value in sizes.items())]) == 2
    line = capsys.readouterr().err
    assert line.startswith("tunemax: memory: 1 model of ")
    assert line.count("\n") == 1


def test_many_members_need_more(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.of(TINY)
    monkeypatch.setattr(alone, "free", lambda: 2e9)
    alone.check_room(config)
    with pytest.raises(TunemaxError, match=r"10,000,000 models of 1 layer × 16 need at least .* take fewer, or make"):
        alone.check_room(config, 10_000_000)


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
    ids=str,
)
def test_memory_that_runs_out_later_is_one_line(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("tunemax.gpt.run.train", fail)
    assert main(["train", *(f"--{name}={value}" for name, value in TINY.items())]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "tunemax: memory: not enough for this; make the model, the batch or the context smaller, or free some"
    ]


def test_another_fault_is_no_shortage_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("tunemax.gpt.run.train", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        main(["train", *(f"--{name}={value}" for name, value in TINY.items())])
