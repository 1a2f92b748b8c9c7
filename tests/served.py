"""`tunemax dashboard` as a user starts it, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import psutil
from waiting import PATIENCE

TUNEMAX = [sys.executable, "-c", "import sys; from tunemax.search.cli import main; sys.exit(main())"]
ROOT = Path(__file__).parents[1]


class Served:
    """The command on free ports; in a `with` block it is stopped at the end, if it still runs."""

    def __init__(self, where: str, *words: str, command: Sequence[str] = TUNEMAX, cwd: Path = ROOT) -> None:
        asked = [*command, "dashboard", "--storage", where, "--port", "0", "--tensorboard-port", "0", *words]
        self.process = subprocess.Popen(
            asked, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.said: list[str] = []

    def __enter__(self) -> Self:
        """Wait until it says that it is there."""
        assert self.process.stdout
        while not any("stops" in line for line in self.said):
            line = self.process.stdout.readline()
            assert line, f"it ended: {self.process.stderr.read() if self.process.stderr else ''}"
            self.said.append(line.rstrip())
        command = psutil.Process(self.process.pid)
        self.started, self.servers = command.children(), command.children(recursive=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        self.end()

    @property
    def dashboard(self) -> str:
        """Its address, up to the path."""
        return self._address("dashboard").removesuffix("/dashboard")

    @property
    def tensorboard(self) -> str:
        return self._address("TensorBoard").removesuffix("/")

    def end(self) -> tuple[int, list[str], list[str]]:
        """Wait for its end: exit status, and the remaining lines of both outputs."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.splitlines(), err.splitlines()

    def left(self, seconds: float = PATIENCE) -> list[psutil.Process]:
        """What it has started and still runs after a while."""
        end = time.monotonic() + seconds
        while alive := [
            server for server in self.servers if server.is_running() and server.status() != psutil.STATUS_ZOMBIE
        ]:
            if time.monotonic() > end:
                break
            time.sleep(0.1)
        return alive

    def _address(self, name: str) -> str:
        (found,) = (line.split()[1] for line in self.said if re.match(rf"{name} +http", line))
        return found
