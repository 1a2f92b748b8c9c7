"""What a worker's trials log as they train, such as a TensorBoard run each, in the trials' folders."""

from __future__ import annotations

import os
from collections.abc import Callable

from tunemax.gpt.files import Guard
from tunemax.gpt.loggers import Loggers
from tunemax.gpt.run import Row
from tunemax.gpt.trainer import Member
from tunemax.search.storage.paths import trial_folder
from tunemax.search.storage.questions import Question
from tunemax.search.workers.trial import Job


class TrialLoggers:
    """A watcher of trials that logs what they measure at each evaluation, as far as the study's base wants it.

    Curves of the softmax are means over a layer's heads: a study has too many runs for one curve a head. A trial that
    is trained on, or again, after an interrupt has its events in one curve. A full disk must not cost a result: a trial
    whose events cannot be written goes on without, which is told once.

    Args:
        question: the open question.
        note: told in one line what a user should know.
    """

    def __init__(self, question: Question, note: Callable[[str], None]) -> None:
        self._question = question
        self._guard = Guard(note, "trials go on without theirs")
        self._open: dict[Member, Loggers] = {}

    def started(self, job: Job) -> None:
        question, study, number = self._question.name, job.study, job.number
        folder = trial_folder(self._question.storage.url, study, number)
        resumed_at = job.member.iteration + 1 if os.path.exists(folder) else None
        self._open[job.member] = Loggers(
            lambda kind: kind.open(
                folder,
                job.member.config,
                resumed_at=resumed_at,
                each_head=False,
                name=f"{number} {' of '.join(reversed(study.split('/')))}",
                labels={"question": question, "candidate": study.rpartition("/")[2]},
            ),
            self._guard,
        )

    def evaluated(self, job: Job) -> None:
        """job.value is what the trial has reported: the cap if it has diverged, so that no earlier loss stays last."""
        if loggers := self._open[job.member]:
            row = Row.of(job.trainer, job.member, job.value)
            loggers.log(row.tags(), row.iteration, job.measured)

    def ending(self, job: Job, end: str) -> None:
        if loggers := self._open.pop(job.member, None):
            # one that is returned or dropped goes on later, or elsewhere
            loggers.close(None if end in ("returned", "dropped") else end == "complete")
