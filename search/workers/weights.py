"""Weights that stay when a trial has ended: those of each candidate's best trial, and of confirmed runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from optuna.trial import TrialState

from tunemax.gpt import checkpoint
from tunemax.gpt.files import Guard
from tunemax.gpt.paths import kept
from tunemax.search.storage.paths import WEIGHTS, trial_file, trial_folder, trial_folders
from tunemax.search.storage.transit import Transit, row_of
from tunemax.search.workers.trial import Job, leads


class Weights:
    """Watches a worker's trials: writes WEIGHTS of one that is to be kept, and removes those that it has overtaken.

    Only what is kept is ever written. A full disk must not cost a result: trials go on without, which is told once.

    Args:
        storage_url: of the trials' storage; the files lie in the trials' folders.
        note: told in one line what a user should know.
        transit: by which they go to another machine, if its folders are not these.
    """

    def __init__(self, storage_url: str, note: Callable[[str], None], transit: Transit | None = None) -> None:
        self._url, self._transit = storage_url, transit
        self._guard = Guard(note, "trials go on, and their weights are not kept")

    def started(self, job: Job) -> None:
        """It has nothing to keep yet."""

    def evaluated(self, job: Job) -> None:
        """Only if its configuration asks for it."""
        every = job.member.config.log.keep_every
        if every and job.member.iteration % every == 0 and not job.member.at_horizon:
            path = kept(trial_folder(self._url, job.study, job.number), job.member.iteration)
            with self._guard(f"{path}: cannot be written"):
                self._save(job, path)

    def ending(self, job: Job, end: str) -> None:
        confirmed = job.definition.confirms is not None
        if end != "complete" or not (confirmed or leads(job)):
            return
        path = trial_file(self._url, job.study, job.number, WEIGHTS)
        with self._guard(f"{path}: cannot be written"):
            self._save(job, path)
        # Path.exists raises if a folder may not be entered
        if not confirmed and (self._transit or os.path.exists(path)):
            self._forget_overtaken(job)

    def _save(self, job: Job, path: Path) -> None:
        weights, data = job.trainer.snapshot(job.member).weights, job.trainer.corpus.manifest.fingerprint
        if self._transit:
            self._transit.put(row_of(job.study, job.number, path.name), checkpoint.packed(weights, data))
        else:
            checkpoint.save(weights, path, data)

    def _forget_overtaken(self, job: Job) -> None:
        """Remove what other trials of the study have kept. One that is about to end stays: it may be better still."""
        others = job.trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        ended = {f"{other.number:05}" for other in others}
        if self._transit:
            self._transit.remove(row_of(job.study, other.number, WEIGHTS) for other in others)
            return
        for folder in trial_folders(self._url, job.study):
            if folder.name in ended:
                with contextlib.suppress(OSError):  # it is somebody else's, or something else is in it
                    (folder / WEIGHTS).unlink(missing_ok=True)
                    folder.rmdir()
