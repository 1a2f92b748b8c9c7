"""Is the memory of a worker what was predicted of it? Workers of real, short studies, beside the measurement made for
them.

    python benchmarks/memory.py               # eager; a few minutes
    python benchmarks/memory.py --compiled    # with a new cache, so that workers compile: minutes more
    python benchmarks/memory.py --quick       # one small row: only to see that it works

Actual is the most that the worker had resident (VmHWM of /proc, so on Linux only), with the largest compiler beside it.
A prediction is meant to be within 15 %. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil
from members import SHAPES, describe
from report import environment, table

from tunemax.gpt.compile.library import CACHE
from tunemax.gpt.config import Config
from tunemax.gpt.data import open_data
from tunemax.search.machine.memory import measured
from tunemax.search.machine.processes import WorkerSettings
from tunemax.search.question.study_file import define
from tunemax.search.storage.artifacts import make_artifact_folder
from tunemax.search.storage.questions import create
from tunemax.search.workers import supervisor

LONG = {"n_layer": 4, "n_embd": 128, "n_head": 4, "block_size": 128, "batch_size": 2}
"""So few windows a batch that an evaluation takes more memory than training."""
ROWS = [("S0", 1), ("S0", 8), ("S0", 32), ("S1", 2), ("S1", 8), ("LONG", 2), ("LONG", 8), ("S2", 8)]
COMPILED = [("S0", 8), ("S1", 8)]


def main() -> None:
    args = _arguments()
    print(*environment(), "", sep="\n", flush=True)
    open_data(args.data)  # prepared once
    rows = []
    for name, slots in args.rows:
        shape = {**(SHAPES | {"LONG": LONG})[name], "device": "cpu"}
        footprint = measured([Config.of({**shape, "dataset": args.data})], slots, "default")
        predicted = (footprint.compiling() if args.compiled else footprint).of(slots)
        with tempfile.TemporaryDirectory() as folder:
            os.environ[CACHE] = f"{folder}/compiled"
            actual = taken(shape, slots, args.data, args.compiled, Path(folder))
        error = 100 * (predicted / actual - 1)
        rows.append(
            [describe(name, shape), str(slots), f"{predicted / 1e6:.0f}", f"{actual / 1e6:.0f}", f"{error:+.0f}"]
        )
    how = "compiling" if args.compiled else "eager"
    print(table(f"Memory of a worker, {how}", ["", "slots", "predicted, MB", "actual, MB", "error, %"], rows))


def taken(shape: dict[str, Any], slots: int, data: str, compiled: bool, folder: Path) -> float:
    """The most bytes of the worker of a study that fills all slots, each of which is evaluated three times."""
    plain = {
        "question": "How much memory?",
        "data": data,
        "base": {**shape, "eval_interval": 5},
        "space": {"learning_rate": "default"},
        "sampler": "random",
        "pruner": "none",
        "budget": {"trials": slots, "horizon": 15},
    }
    question = create(folder / "memory.db", define(plain, name="memory"), open_data(data))
    make_artifact_folder(question.storage.url)
    most: dict[str, float] = {}
    ended = threading.Event()
    watching = threading.Thread(target=_watch, args=(most, ended))
    watching.start()
    try:
        supervisor.run(
            question.storage.url,
            "memory",
            WorkerSettings(1, 1, slots, compiled),
            seconds=None,
            report=lambda event: None,
        )
    finally:
        ended.set()
        watching.join()
    compiler = most.pop("cc1plus", 0.0)
    return max(most.values()) + compiler


def _watch(most: dict[str, float], ended: threading.Event) -> None:
    """Note the most memory of this process's descendants, by the names of their programs."""
    while not ended.wait(0.05):
        for process in psutil.Process().children(recursive=True):
            try:
                name, status = process.name(), Path(f"/proc/{process.pid}/status").read_text()
            except (psutil.Error, OSError):  # it has ended
                continue
            found = [1024.0 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
            most[name] = max([most.get(name, 0.0), *found])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiled", action="store_true", help="workers that compile")
    parser.add_argument("--data", default="python_stdlib", help="dataset, as in a study file")
    parser.add_argument("--quick", action="store_true", help="one small row; figures mean little")
    args = parser.parse_args()
    args.rows = ROWS[:1] if args.quick else COMPILED if args.compiled else ROWS
    return args


if __name__ == "__main__":
    main()
