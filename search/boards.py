"""TensorBoard runs of a worker's trials, one a trial, in the trials' folders."""

from __future__ import annotations

import contextlib

from gpt.board import Board
from gpt.run import Row
from gpt.trainer import Member
from search.jobs import Job
from search.places import trial_folder
from search.question import Question


class Boards:
    """A watcher of trials that writes what they measure at each evaluation, unless `tensorboard` is off in the study's base.

    Curves of the softmax are means over a layer's heads: a study has too many runs for one curve a head. A trial that is
    trained on, or again, after an interrupt has its events in one curve.
    """

    def __init__(self, question: Question) -> None:
        self._question = question
        self._open: dict[Member, Board] = {}

    def started(self, job: Job) -> None:
        config = job.member.config
        if not config.log.tensorboard:
            return
        question, study, number = self._question.name, job.trial.study.study_name, job.trial.number
        folder = trial_folder(self._question.storage.url, study, number)
        candidate = study.rpartition("/")[2]
        board = Board(
            folder,
            config,
            resumed_at=job.member.iteration + 1 if folder.exists() else None,
            each_head=False,
            name=f"{number} {' of '.join(reversed(study.split('/')))}",
            labels={"question": question, "candidate": candidate},
        )
        self._open[job.member] = board

    def evaluated(self, job: Job) -> None:
        """job.value is what the trial has reported: for one that has diverged the cap, so that no earlier loss stays its last."""
        if job.member in self._open:
            row = Row.of(job.trainer, job.member, job.value)
            self._open[job.member].write(row.tags(), row.iteration, job.measured)

    def ending(self, job: Job, end: str) -> None:
        if job.member in self._open:
            board = self._open.pop(job.member)
            with contextlib.closing(board):
                if end not in ("returned", "dropped"):  # it goes on later, or elsewhere
                    board.end(completed=end == "complete")
