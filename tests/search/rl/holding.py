"""Commands that stop at a call on request, for test_processes.py: a process that loads everything once, and forks one
for each.

    python holding.py

Reads a request a line from standard input, as JSON, and answers each with a line: the process of a command that has
begun, or the exit status of one that was waited for. The process itself never opens a database, since a fork must not
inherit one.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import Any

import sb3_contrib  # noqa: F401
import stable_baselines3  # noqa: F401
import torch

import tunemax.search.rl.agent_study
import tunemax.search.rl.baselines
import tunemax.search.rl.train  # noqa: F401
from tunemax.search.cli import main


def held(where: str, gate: str) -> None:
    """Arrange that this process says "held" at the nth call of a function, `module:path:n`, and waits for the gate."""
    module, path, nth = where.split(":")
    owner = importlib.import_module(module)
    *outer, name = path.split(".")
    for each in outer:
        owner = getattr(owner, each)
    real, left = getattr(owner, name), int(nth)

    def called(*arguments: Any, **keywords: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            print("held", flush=True)
            open(gate).close()  # until somebody opens it to write
        return real(*arguments, **keywords)

    setattr(owner, name, called)


def begin(words: list[str], folder: str, storage: str, out: str, gate: str, where: str | None) -> int:
    """A child that runs a command of tunemax in a folder and ends; returns its process. out: what it prints to."""
    if child := os.fork():
        return child
    status = 1
    try:
        os.chdir(folder)
        os.environ["TUNEMAX_STORAGE"] = storage
        sys.stdout = sys.stderr = open(out, "w", buffering=1)  # noqa: SIM115 - as long as the process lives
        if where:
            held(where, gate)
        status = main(words)
    except BaseException:
        traceback.print_exc()
    os._exit(status)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        if process := request.get("wait"):
            print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
        else:
            print(begin(**request), flush=True)
