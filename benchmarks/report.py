"""What the benchmarks print: the machine they ran on, and Markdown tables that can be pasted into RESULTS.md."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import optuna
import torch

from tunemax.search.machine.limits import cores


def environment() -> list[str]:
    """Lines that say what the figures depend on.

    A load above 0 at the start means that somebody else was working too.
    """
    load = f"{os.getloadavg()[0]:.1f}"
    return [
        f"CPU: {_cpu()}, {cores()} cores; load {load} at the start",
        f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), float32 matmul precision "
        f"{torch.get_float32_matmul_precision()}",
        f"Python {platform.python_version()}, Optuna {optuna.__version__}, SQLite {sqlite3.sqlite_version}, "
        f"{platform.system()}",
    ]


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up in a terminal; the first column is text, the others are figures."""
    # A rule of figures is -: at least
    widths = [max(2, *map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    first, *rest = (header, rule, *rows)
    return "\n".join([f"### {title}", "", _line(first, widths), *(_line(row, widths) for row in rest), ""])


def spread(values: Sequence[float], digits: int) -> str:
    """Median, and in brackets the least and the greatest."""
    low, high = min(values), max(values)
    return f"{median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cells[0].ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
    ]
    return f"| {' | '.join(padded)} |"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        return names[0] if names else platform.machine()
    if platform.system() == "Darwin":
        return subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=True
        ).stdout.strip()
    return platform.machine()
