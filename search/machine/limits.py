"""What of the machine this process may use: a batch system or a container may allow less than there is."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

OWN = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores that this process may use, at least one: those it may run on, or the time its control groups allow."""
    runs_on = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([runs_on, *(math.ceil(share) for folder in groups("cpu") for share in _shares(folder))]))


def free() -> float:
    """Bytes that new processes may take: of the machine, or of what its control groups leave to this process."""
    left = [left for folder in groups("memory") for left in _left(folder)]
    return min([float(psutil.virtual_memory().available), *left])


def groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups, of either version, that limit this process, its own first.

    In a container the names are those of the machine, and not all of them are there; the outermost folder always is.
    """
    try:
        lines = OWN.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = ROOT / controller if controllers else ROOT
        # Another container's may be outside of what is seen from here
        own = root / ("" if ".." in path else path.lstrip("/"))
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root) and folder.is_dir())


def _shares(folder: Path) -> Iterator[float]:
    """The cores whose time a control group may take, if it is limited."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        yield float(quota) / float(period)
    except (OSError, ValueError):  # version 1, or "max"
        pass
    try:
        share = float((folder / "cpu.cfs_quota_us").read_text()) / float((folder / "cpu.cfs_period_us").read_text())
        if share > 0:
            yield share
    except (OSError, ValueError):
        pass


def _left(folder: Path) -> Iterator[float]:
    """What a control group has left of its memory, if that is limited.

    Old pages of files are given back as soon as somebody needs them.
    """
    for limit, usage, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),  # version 1
    ):
        try:
            most, used = float((folder / limit).read_text()), float((folder / usage).read_text())
        except (OSError, ValueError):  # of the other version, or "max"
            continue
        stat = folder / "memory.stat"
        counts = dict(line.split() for line in stat.read_text().splitlines()) if stat.exists() else {}
        yield most - used + float(counts.get(cache, 0))
