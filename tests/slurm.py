"""A Slurm cluster of one node, of a test session's own: in a temporary folder, gone at the end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from waiting import until

CONFIGURATION = """\
ClusterName=tunemax
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """Start it; in a `with` block it is stopped at the end, with its jobs.

    Raises RuntimeError if it is not installed, or does not start. Only root can start it.
    """

    def __enter__(self) -> Self:
        if missing := [name for name in ("munged", "slurmctld", "slurmd") if not shutil.which(name)]:
            raise RuntimeError(f"{missing[0]} is not installed, and workers under Slurm are tested: `sudo .ci/slurm`")
        self.folder = Path(tempfile.mkdtemp(prefix="tunemax-"))
        self.folder.chmod(0o755)
        self._munge = self.folder / "munge"
        self._munge.mkdir()
        (self._munge / "key").write_bytes(os.urandom(128))
        (self._munge / "key").chmod(0o400)
        for path in (self._munge, self._munge / "key"):
            shutil.chown(path, "munge", "munge")
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        words = [f"--{name}={self._munge / name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
        words.append(f"--key-file={self._munge / 'key'}")
        self._processes = [self._begun("munged", "--foreground", *words, user="munge")]
        until(lambda: (self._munge / "socket").exists())
        host, ports = socket.gethostname().partition(".")[0], (_port(), _port())
        text = CONFIGURATION.format(host=host, folder=self.folder, ports=ports)
        (self.folder / "slurm.conf").write_text(text)
        self._processes += [self._begun(name, "-D") for name in ("slurmctld", "slurmd")]
        until(self._idle)
        return self

    def __exit__(self, *_: object) -> None:
        self.say("scancel", "--user=root")
        until(lambda: self.jobs() == [])
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            process.wait()
        shutil.rmtree(self.folder)

    def say(self, *words: str, **more: str) -> str:
        """What one of its commands prints. more: of the environment. Raises RuntimeError if the command fails."""
        environment = {**self.environment, **more}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=self.folder)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self) -> list[str] | None:
        """The state of each job that has not ended. None while the controller does not answer."""
        try:
            return self.say("squeue", "--noheader", "--array", "--format=%T").split()
        except RuntimeError:
            return None

    def _idle(self) -> bool:
        try:
            return "idle" in self.say("sinfo", "--noheader", "--format=%T")
        except RuntimeError:  # it is not there yet
            return False

    def _begun(self, *words: str, user: str | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / f"{words[0]}.log").open("wb") as log:
            return subprocess.Popen(words, stdout=log, stderr=log, env=self.environment, user=user)


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
