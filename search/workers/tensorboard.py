"""TensorBoard runs of a worker's trials, one a trial, in the trials' folders."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.run import Row
from tunemax.gpt.tensorboard import Board
from tunemax.gpt.trainer import Member
from tunemax.search.storage.paths import trial_folder
from tunemax.search.storage.questions import Question
from tunemax.search.workers.trial import Job


class Boards:
    """A watcher of trials that writes what they measure at each evaluation, unless `tensorboard` is off in the study's
    base.

    Curves of the softmax are means over a layer's heads: a study has too many runs for one curve a head. A trial that
    is trained on, or again, after an interrupt has its events in one curve. A full disk must not cost a result: a trial
    whose events cannot be written goes on without, which is told once.

    Args:
        question: the open question.
        note: told in one line what a user should know.
    """

    def __init__(self, question: Question, note: Callable[[str], None]) -> None:
        self._question = question
        self._note = note
        self._told = False
        self._open: dict[Member, Board] = {}

    def started(self, job: Job) -> None:
        if job.member.config.log.tensorboard:
            with self._writing(job):
                self._open[job.member] = self._board(job)

    def evaluated(self, job: Job) -> None:
        """job.value is what the trial has reported: for one that has diverged the cap, so that no earlier loss stays
        its last."""
        if job.member in self._open:
            row = Row.of(job.trainer, job.member, job.value)
            with self._writing(job):
                self._open[job.member].write(row.tags(), row.iteration, job.measured)

    def ending(self, job: Job, end: str) -> None:
        if job.member in self._open:
            with self._writing(job), contextlib.closing(self._open.pop(job.member)) as board:
                if end not in ("returned", "dropped"):  # it goes on later, or elsewhere
                    board.end(completed=end == "complete")

    def _board(self, job: Job) -> Board:
        question, study, number = self._question.name, job.trial.study.study_name, job.trial.number
        folder = trial_folder(self._question.storage.url, study, number)
        return Board(
            folder,
            job.member.config,
            resumed_at=job.member.iteration + 1 if folder.exists() else None,
            each_head=False,
            name=f"{number} {' of '.join(reversed(study.split('/')))}",
            labels={"question": question, "candidate": study.rpartition("/")[2]},
        )

    @contextlib.contextmanager
    def _writing(self, job: Job) -> Iterator[None]:
        """Let go of the board of a trial whose events cannot be written."""
        try:
            yield
        except TunemaxError as error:
            if board := self._open.pop(job.member, None):
                board.close()
            if not self._told:
                self._note(f"{error}; trials go on without theirs")
            self._told = True
