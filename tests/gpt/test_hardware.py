"""How a process keeps its memory: freed pages stay, large ones are asked for, and what grows lies apart."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tunemax.gpt import hardware
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.hardware import find_device


def test_freed_memory_is_kept_where_the_library_is_glibc() -> None:
    """Four arrays of 40 MB, taken and freed three times: without the setting each comes as new pages from the system.

    40 MB, for up to 32 MB glibc itself comes to keep what it has seen freed, or not, as the heap happens to lie.
    """
    program = """
import resource, sys
from tunemax.gpt import hardware
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.hardware import find_device
if sys.argv[1] == "keep": assert hardware.keep_memory()
import torch
for _ in range(6): [torch.ones(10_000_000) for _ in range(4)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3): [torch.ones(10_000_000) for _ in range(4)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = [
        int(subprocess.run([sys.executable, "-c", program, word], capture_output=True, text=True, check=True).stdout)
        for word in ("keep", "as it is")
    ]
    assert sys.platform != "linux" or faults[0] < faults[1] / 10


def test_processes_get_large_pages_where_the_system_gives_them_to_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 MB in a new process: with the setting most of them lie in large pages, and the user's own settings stay beside
    it."""
    program = """
from tunemax.gpt import hardware
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.hardware import find_device
hardware.keep_memory()
import os, torch
kept = torch.ones(10_000_000)
lines = open("/proc/self/smaps_rollup").read().splitlines() if os.path.exists("/proc/self/smaps_rollup") else []
print(os.environ["GLIBC_TUNABLES"], sum(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages")))
"""
    monkeypatch.setenv(hardware.TUNABLES, "glibc.malloc.check=0")
    with hardware.large_pages():
        found = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split()
    assert found[0] == "glibc.malloc.check=0:glibc.malloc.hugetlb=1"
    assert os.environ[hardware.TUNABLES] == "glibc.malloc.check=0"
    switch, haste = (Path("/sys/kernel/mm/transparent_hugepage", name) for name in ("enabled", "defrag"))
    newer = platform.libc_ver()[0] == "glibc" and tuple(map(int, platform.libc_ver()[1].split("."))) >= (2, 35)
    if newer and switch.exists() and "[madvise]" in switch.read_text() and "[madvise]" in haste.read_text():
        assert int(found[1]) > 2_000  # kB

    monkeypatch.setenv(hardware.TUNABLES, "glibc.malloc.hugetlb=2")
    with hardware.large_pages():
        assert os.environ[hardware.TUNABLES] == "glibc.malloc.hugetlb=2"
    monkeypatch.delenv(hardware.TUNABLES)
    with hardware.large_pages():
        assert os.environ[hardware.TUNABLES] == "glibc.malloc.hugetlb=1"
    assert hardware.TUNABLES not in os.environ


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="tells how much is resident")
def test_rows_that_grow_one_by_one_leave_no_holes() -> None:
    """40 members of 100,000 parameters are 48 MB, in a process that keeps what is freed, and takes some more for each
    of them, as a worker does; beside the others they would come to lie in 120 MB. Those that leave give it back."""
    program = """
import resource, torch
from tunemax.gpt import hardware
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.hardware import find_device
from tunemax.gpt.optimizer import Rows
hardware.keep_memory()
def resident(): return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
one = Rows.begin(torch.ones(1, 100_000), 2)
rows, beside = Rows.begin(torch.zeros(0, 100_000), 2), []
before = resident()
for place in range(40):
    rows = rows.inserted(place, one)
    beside.append(torch.ones(1_000))
print(resident() - before)
for _ in range(40):
    rows = rows.without(0)
print(resident() - before)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    full, empty = map(float, run.stdout.split())
    assert 48 <= full < 75
    assert empty < 20


@pytest.mark.parametrize("name", ["meta", "cuda:77", "xyz", "cpu:x", ""])
def test_a_device_that_cannot_train_is_refused(name: str) -> None:
    with pytest.raises(TunemaxError, match=rf"device = {name}: not usable on this machine; use auto or cpu"):
        find_device(name)
