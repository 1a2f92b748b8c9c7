"""How the learnables of a trial move, and what they stand for: noted at every evaluation, kept on the trial."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError

from tunemax.gpt.probe import STANDS_FOR
from tunemax.gpt.trainer import Member
from tunemax.search.storage.attributes import TRAJECTORY
from tunemax.search.storage.paths import LEARNABLES as FILE
from tunemax.search.storage.paths import trial_file
from tunemax.search.storage.trials import set_system_attr
from tunemax.search.workers.trial import Job

POINTS = 64
"""Of a trajectory, at the most; beyond that every second one is left out."""
Means = dict[str, list[float]]
"""Learnable, or what one stands for → its value in each layer, the mean over heads."""


class Trajectories:
    """Watches the trials of a worker. Costs nothing where a variant has nothing to learn.

    While a trial runs its values are lines of a file in its folder, a write to the database at every evaluation being
    dear; a trial that goes on elsewhere without them has a trajectory that begins there. At its end they go to the
    trial.
    """

    def __init__(self, storage_url: str) -> None:
        self._url = storage_url
        self._noted: dict[Member, dict[int, Means]] = {}

    def started(self, job: Job) -> None:
        if job.member.config.softmax.learned():
            self._noted[job.member] = _read(self._path(job), job.member.iteration)
            if not job.member.iteration:
                with contextlib.suppress(OSError):  # of an earlier start, or of a trial of another database
                    self._path(job).unlink(missing_ok=True)
            self._note(job)

    def evaluated(self, job: Job) -> None:
        if job.member in self._noted:
            self._note(job)

    def ending(self, job: Job, end: str) -> None:
        noted = self._noted.pop(job.member, None)
        if noted is None or end in ("returned", "dropped"):
            return
        with contextlib.suppress(UpdateFinishedTrialError):
            # somebody else has just finished it, as the worker is about to find out
            set_system_attr(job.trial, TRAJECTORY, _text(noted))
        with contextlib.suppress(OSError):
            self._path(job).unlink(missing_ok=True)

    def _note(self, job: Job) -> None:
        probe = job.measured
        meant = [STANDS_FOR[name] for name in probe.learnables if name in STANDS_FOR]
        shown = {**probe.learnables, **{name: getattr(probe, name) for name in meant}}
        if not all(values.isfinite().all() for values in shown.values()):  # it has just diverged
            return
        layers = {name: values.mean(dim=1).tolist() for name, values in shown.items()}
        means = {name: [float(f"{value:.6g}") for value in values] for name, values in layers.items()}
        self._noted[job.member][job.member.iteration] = means
        path = self._path(job)
        with contextlib.suppress(OSError):  # of a full disk the snapshots tell; a curve with a gap is no reason to stop
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(json.dumps([job.member.iteration, means]) + "\n")

    def _path(self, job: Job) -> Path:
        return trial_file(self._url, job.study, job.number, FILE)


def _read(path: Path, before: int) -> dict[int, Means]:
    """What was noted before an iteration. From there on it comes again; a last line may be cut short."""
    noted: dict[int, Means] = {}
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        for line in path.read_text().splitlines():
            iteration, means = json.loads(line)
            noted[iteration] = means
    return {iteration: means for iteration, means in noted.items() if iteration < before}


def _text(noted: dict[int, Means]) -> str:
    """The text of the attribute."""
    iterations = sorted(noted)
    while len(iterations) > POINTS:
        iterations = [*iterations[:-1:2], iterations[-1]]
    names = noted[iterations[0]] if iterations else ()
    columns = {"iteration": iterations} | {name: [noted[at][name] for at in iterations] for name in names}
    return json.dumps(columns, separators=(",", ":"))
