"""A process uses what it may, not what the machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search import allowance
from search.allowance import cores, groups


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups without limits: of version 2, and of version 1 with `cpu`."""
    (tmp_path / "own").write_text("4:cpu,cpuacct:/batch/job\n0::/batch/job\n")
    monkeypatch.setattr(allowance, "OWN", tmp_path / "own")
    monkeypatch.setattr(allowance, "ROOT", tmp_path / "groups")
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
    allowance.OWN.write_text("0::/../elsewhere/job\n")
    assert list(groups("cpu")) == [tree]


def test_without_control_groups_nothing_is_limited(tree: Path) -> None:
    allowance.OWN.unlink()
    assert (list(groups("cpu")), cores()) == ([], 16)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system ties no process to a core")
def test_a_process_that_is_tied_to_one_core_has_one() -> None:
    tied = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}}); from search.allowance import cores; print(cores())"
    assert subprocess.run([sys.executable, "-c", tied], capture_output=True, text=True, check=True).stdout == "1\n"
