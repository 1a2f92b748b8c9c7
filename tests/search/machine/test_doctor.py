"""A machine says what it has and what is broken, and is measured once for how its cores are best shared out."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from tunemax.gpt import matmul
from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli import main
from tunemax.search.machine import calibration
from tunemax.search.machine.calibration import Measurement, Shares, calibrate, remembered
from tunemax.search.machine.doctor import examine
from tunemax.search.machine.limits import cores
from tunemax.search.machine.plan import plan
from tunemax.search.question.study_file import define

TINY = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 2, "device": "cpu"}


@pytest.fixture
def config(text: Path) -> Config:
    return Config.of({**TINY, "dataset": str(text)})


def test_a_sound_machine_has_no_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--storage", str(tmp_path / "new.db")]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert names == ["processor", "memory", "torch", "matrices", "bf16", "compiler", "data", "storage", "runs"]
    assert f", {cores()} core" in lines[0]
    assert lines[7].endswith("new.db: not there yet; the first study makes it")
    assert not list(tmp_path.iterdir())  # to look changes nothing


def test_what_is_broken_is_marked_and_everything_else_is_still_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.db"
    broken.write_text("no database")
    assert main(["doctor", "--storage", str(broken)]) == 2
    said = capsys.readouterr()
    marked = [line for line in said.out.splitlines() if line.startswith("!")]
    assert [line.split()[1] for line in marked] == ["storage"]
    assert said.err == "tunemax: storage: to be mended, see the lines marked with !\n"
    assert "runs" in said.out


def test_a_folder_that_cannot_be_written_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / "file" / "runs"))
    found = {finding.name: finding for finding in examine(str(tmp_path / "new.db"))}
    assert found["runs"].fault
    assert not found["data"].fault


def test_without_a_compiler_it_says_what_that_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    found = {finding.name: finding for finding in examine(str(tmp_path / "new.db"))}
    assert found["compiler"].text == "none (no-such-compiler is not there): everything trains in eager mode"
    assert not found["compiler"].fault


@pytest.mark.timeout(300)
def test_a_calibration_measures_every_share_of_the_cores_and_is_remembered(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "SECONDS", 0.05)
    monkeypatch.setattr(calibration, "SLOTS", (1, 3))
    seen: list[Measurement] = []
    assert remembered(config) is None
    chosen = calibrate(config, seen.append)
    assert {each.shares.workers * each.shares.threads for each in seen} <= {cores(), cores() - 1}
    assert [each.shares.slots for each in seen[:2]] == [1, 3]
    assert all(each.rate > 0 for each in seen)
    assert next(each.rate for each in seen if each.shares == chosen) >= calibration.TIE * max(
        each.rate for each in seen
    )
    assert remembered(config) == chosen
    assert remembered(config.replace({"learning_rate": 0.1, "seed": 7})) == chosen
    assert remembered(config.replace({"n_embd": 32})) is None


def test_a_study_is_trained_as_its_shapes_were_calibrated(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that says nothing of a device, or compiles; and not on a machine with other cores."""
    monkeypatch.setattr(calibration, "SECONDS", 0.05)
    monkeypatch.setattr(calibration, "SLOTS", (3,))
    monkeypatch.setattr(calibration, "cores", lambda: 1)
    base = {name: value for name, value in TINY.items() if name != "device"}
    given = {
        "question": "?",
        "data": str(text),
        "base": base,
        "space": {"learning_rate": "default"},
        "budget": {"trials": 40, "horizon": 9},
    }
    file = tmp_path / "q.yaml"
    file.write_text(yaml.safe_dump(given))
    assert main(["doctor", "--calibrate", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Best here: 1 worker of 1 thread with 3 slots")
    for changes in ({}, {"compile": False}, {"device": "cpu"}):
        found = plan(define({**given, "base": {**base, **changes}}, name="q"), 40)
        assert (found.workers, found.threads, found.slots) == (1, 1, 3)
    monkeypatch.setattr(calibration, "cores", lambda: 7)
    assert plan(define(given, name="q"), 40).slots == 8


def test_what_is_wrong_with_a_study_is_one_line_and_not_one_of_each_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "q.yaml"
    missing = str(tmp_path / "missing.txt")
    space, budget = {"learning_rate": "default"}, {"trials": 1, "horizon": 9}
    file.write_text(yaml.safe_dump({"question": "?", "data": missing, "base": TINY, "space": space, "budget": budget}))
    assert main(["doctor", "--calibrate", str(file)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert missing in line


def test_processes_that_die_of_many_members_end_a_layout_and_not_the_calibration(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "SECONDS", 0.05)
    monkeypatch.setattr(calibration, "SLOTS", (1, 3, 5))
    monkeypatch.setattr(calibration, "cores", lambda: 2)
    monkeypatch.setattr(calibration, "_train", _frail)
    seen: list[Measurement] = []
    calibrate(config, seen.append)
    assert [(each.shares.workers, each.shares.slots) for each in seen if each.rate] == [(2, 1), (2, 3), (1, 1), (1, 3)]
    assert [(each.shares.workers, each.shares.slots) for each in seen if not each.rate] == [(2, 5), (1, 5)]
    monkeypatch.setattr(calibration, "SLOTS", (5,))
    with pytest.raises(TunemaxError, match="dies of so few members already"):
        calibrate(config)


def _frail(link: Connection, *_: object) -> None:
    while link.recv()[0] < 5:
        link.send(0.001)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_near_tie_goes_to_fewer_threads_and_fewer_members(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {(2, 1): 99.0, (2, 4): 100.0, (1, 1): 50.0, (1, 4): 101.0}
    monkeypatch.setattr(calibration, "cores", lambda: 2)
    monkeypatch.setattr(calibration, "SLOTS", (1, 4))
    monkeypatch.setattr(calibration, "_Team", _Team)
    _Team.rates = rates
    assert calibrate(config) == Shares(2, 1, 1)
    rates[2, 1] = 90.0
    assert calibrate(config) == Shares(2, 1, 4)


class _Team:
    rates: ClassVar[dict[tuple[int, int], float]] = {}

    def __init__(self, config: Config, workers: int, threads: int, route: matmul.Route) -> None:
        self.shares = (workers, threads)

    def __enter__(self) -> _Team:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def measure(self, slots: int) -> Measurement:
        workers, threads = self.shares
        return Measurement(Shares(workers, threads, slots), self.rates[workers, slots], 0.1)


def test_a_study_is_only_looked_at_to_calibrate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "some.yaml"]) == 2
    assert capsys.readouterr().err.startswith("tunemax: some.yaml: a study is only looked at with --calibrate")
    assert main(["doctor", "some.yaml", "--calibrate"]) == 2
    assert "some.yaml" in capsys.readouterr().err


def test_a_damaged_memory_of_it_is_as_none(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_place", lambda: tmp_path / "layouts.json")
    (tmp_path / "layouts.json").write_text("{")
    assert remembered(config) is None
