"""A process uses what it may, not what the machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tunemax.search.machine import limits
from tunemax.search.machine.limits import cores, free, groups

Machine = Callable[[str, dict[str, str]], None]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups without limits: of version 2, and of version 1 with `cpu`."""
    (tmp_path / "own").write_text("4:cpu,cpuacct:/batch/job\n0::/batch/job\n")
    monkeypatch.setattr(limits, "OWN", tmp_path / "own")
    monkeypatch.setattr(limits, "ROOT", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(16), raising=False)
    for folder in ("batch/job", "cpu/batch/job"):
        (tmp_path / "groups" / folder).mkdir(parents=True)
    return tmp_path / "groups"


def test_without_limits_all_cores_are_used(tree: Path) -> None:
    assert cores() == 16
    (tree / "cpu.max").write_text("max 100000\n")
    (tree / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tree / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cores() == 16


@pytest.mark.parametrize("folder", ["batch/job", "batch", "."])
def test_the_least_that_any_group_above_allows_counts(tree: Path, folder: str) -> None:
    (tree / "cpu.max").write_text("800000 100000\n")
    (tree / folder / "cpu.max").write_text("250000 100000\n")
    assert cores() == 3


def test_the_older_version_counts_too(tree: Path) -> None:
    (tree / "cpu" / "batch" / "cpu.cfs_quota_us").write_text("20000\n")
    (tree / "cpu" / "batch" / "cpu.cfs_period_us").write_text("100000\n")
    assert cores() == 1


def test_in_a_container_only_the_outermost_folder_may_be_there(tree: Path) -> None:
    limits.OWN.write_text("0::/../elsewhere/job\n")
    assert list(groups("cpu")) == [tree]


def test_without_control_groups_nothing_is_limited(tree: Path) -> None:
    limits.OWN.unlink()
    assert (list(groups("cpu")), cores()) == ([], 16)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system ties no process to a core")
def test_a_process_that_is_tied_to_one_core_has_one() -> None:
    tie = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})"
    tied = f"{tie}; from tunemax.search.machine.limits import cores; print(cores())"
    assert subprocess.run([sys.executable, "-c", tied], capture_output=True, text=True, check=True).stdout == "1\n"


# --------------------------------------------------------------------------------------------------------- memory


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Makes this process one of such control groups, with such files below /sys/fs/cgroup."""

    def make(mine: str, files: dict[str, str]) -> None:
        for name, content in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        (tmp_path / "mine").write_text(mine)
        monkeypatch.setattr(limits, "ROOT", tmp_path / "cgroup")
        monkeypatch.setattr(limits, "OWN", tmp_path / "mine")

    return make


def test_a_container_may_allow_less_than_the_machine_has(machine: Machine) -> None:
    machine("0::/\n", {"memory.max": "3000000", "memory.current": "1000000"})
    assert free() == 2e6


@pytest.mark.parametrize("mine", ["", "0::/\n"])
def test_without_a_limit_the_whole_machine_is_free(mine: str, machine: Machine) -> None:
    machine(mine, {"memory.max": "max", "memory.current": "1000000"})
    assert free() == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_old_pages_of_files_count_as_free(machine: Machine) -> None:
    stat = "anon 900000\ninactive_file 7000000\nactive_file 100000"
    machine("0::/\n", {"memory.max": "8000000", "memory.current": "7900000", "memory.stat": stat})
    assert free() == 7.1e6


@pytest.mark.parametrize(
    ("inner", "outer", "left"), [("5000000", "3000000", 2e6), ("2300000", "3000000", 1.9e6), ("max", "max", None)]
)
def test_the_smallest_limit_on_the_way_up_counts(inner: str, outer: str, left: float | None, machine: Machine) -> None:
    own = {
        "a/b/memory.max": inner,
        "a/b/memory.current": "400000",
        "a/memory.max": outer,
        "a/memory.current": "1000000",
    }
    machine("1:name=systemd:/\n0::/a/b\n", {**own, "a/other/memory.max": "1000", "a/other/memory.current": "0"})
    assert free() == (left or pytest.approx(psutil.virtual_memory().available, rel=0.2))


def test_control_groups_of_version_1_count_where_a_container_sees_only_its_own(machine: Machine) -> None:
    files = {
        "limit_in_bytes": "6000000",
        "usage_in_bytes": "5000000",
        "stat": "inactive_file 1\ntotal_inactive_file 3000000",
    }
    machine("4:cpu,memory:/docker/123\n0::/\n", {f"memory/memory.{name}": content for name, content in files.items()})
    assert free() == 4e6
