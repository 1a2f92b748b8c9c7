"""TensorBoard runs of a worker's trials, one a trial, in the trials' folders."""

from __future__ import annotations

import contextlib

from gpt.board import Board
from gpt.probe import Probe, probe
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
        self._open: dict[Member, tuple[Job, Board]] = {}
        self._probes: dict[Member, tuple[int, Probe]] = {}
        """Of members that train: the iteration of their last measurement, and what was found."""

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
        self._open[job.member] = job, board

    def evaluated(self, job: Job) -> None:
        """job.value is what the trial has reported: for one that has diverged the cap, so that no earlier loss stays its last."""
        if job.member in self._open:
            _, board = self._open[job.member]
            row = Row.of(job.trainer, job.member, job.value)
            board.write(row.tags(), row.iteration, self._probe(job))

    def ending(self, job: Job, end: str) -> None:
        self._probes.pop(job.member, None)
        if job.member in self._open:
            _, board = self._open.pop(job.member)
            with contextlib.closing(board):
                if end not in ("returned", "dropped"):  # it goes on later, or elsewhere
                    board.end(completed=end == "complete")

    def _probe(self, job: Job) -> Probe:
        """Members that stop at one iteration are measured together, by the first that is asked for."""
        member = job.member
        if member not in self._probes or self._probes[member][0] != member.iteration:
            together = {other.member for other, _ in self._open.values() if other.trainer is job.trainer and other.at_stop}
            found = probe(job.trainer, {member, *together})
            self._probes |= {other: (other.iteration, measured) for other, measured in found.items()}
        return self._probes[member][1]
