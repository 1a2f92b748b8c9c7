"""A worker: takes waiting trials, trains them side by side in slots, reports, prunes, and refills a slot at once.

Workers know nothing of each other; they meet in the storage. Any number of them may work on one question.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.interrupt import Stopped, stopped_by
from tunemax.gpt.origin import origin
from tunemax.gpt.pool import Pool
from tunemax.gpt.probe import Probes
from tunemax.search.storage import attributes
from tunemax.search.storage.marks import mark
from tunemax.search.storage.origins import alike, continued, parts_of
from tunemax.search.storage.ownership import beating, finish, owned, release, report, settle
from tunemax.search.storage.patience import StorageLost
from tunemax.search.storage.questions import Question
from tunemax.search.storage.queue import claim, must_be_alone
from tunemax.search.storage.recovery import cause
from tunemax.search.storage.transit import Transit
from tunemax.search.storage.trials import frozen, set_system_attr
from tunemax.search.workers.events import Advanced, Event, Finished, Note, Reported, Started
from tunemax.search.workers.snapshots import Snapshots
from tunemax.search.workers.trial import (
    Job,
    Record,
    configuration,
    evaluated,
    mark_duplicate,
    trained_before,
)

ADVANCED = 0.5
"""Least seconds between two words on how far the members have come."""
EVERY = 1.0
"""Least seconds between two snapshots of a trial, written where it is evaluated; to train less anew costs less."""
TAKEN = "somebody else has finished it, or taken it over"


class Watcher(Protocol):
    """Somebody who follows the trials of a worker from inside it, such as a writer of TensorBoard files."""

    def started(self, job: Job) -> None:
        """The trial has its member, at iteration 0 or wherever it goes on."""

    def evaluated(self, job: Job) -> None:
        """It was evaluated and has reported `job.value`."""

    def ending(self, job: Job, end: str) -> None:
        """It is complete, pruned, diverged or returned, and still ours in the storage; or dropped, and ours no more."""


@dataclass
class Worker:
    """One process's share of a question.

    Args:
        question: the open question.
        corpus: its data.
        index: 0, 1, … among the workers of this run; seeds the sampler.
        slots: members trained at once.
        report: told of everything that happens.
        stopping: asked often; once it says yes, running trials go back to the waiting ones and `run` returns.
        closing: asked before a trial is taken; once it says yes, no new trial starts (a time budget is spent).
        watchers: told of each trial's way through its slot, in turn.
        transit: of this process's files to other machines, if its watchers have one.
    """

    question: Question
    corpus: Corpus
    index: int
    slots: int
    report: Callable[[Event], None]
    stopping: Callable[[], bool] = lambda: False
    closing: Callable[[], bool] = lambda: False
    watchers: Sequence[Watcher] = ()
    transit: Transit | None = None
    _jobs: list[Job] = field(default_factory=list)
    _pool: Pool = field(init=False)
    _samplers: dict[str, optuna.samplers.BaseSampler] = field(default_factory=dict)
    _probes: Probes = field(default_factory=Probes)
    _mark: str = field(default_factory=mark)
    _advanced: float = 0.0
    """When it was last said how far the members have come."""

    def __post_init__(self) -> None:
        self._pool = Pool(lambda dataset: self.corpus)
        url, data = self.question.storage.url, self.corpus.manifest.fingerprint
        transit = self.transit or Transit(self.question)
        self._snapshots = Snapshots(url, data, lambda text: self.report(Note(self.index, text)), transit)

    def run(self) -> None:
        """Work until nothing waits any more, or until told to stop."""
        fault: BaseException | None = None
        with beating(self.question.storage, lambda: [job.trial for job in list(self._jobs)]):
            try:
                self._fill()
                while self._jobs and not self.stopping():
                    with contextlib.suppress(Stopped):
                        self._advance()
                    self._fill()
            except BaseException as error:
                fault = error
                raise
            finally:
                self._give_back(fault)

    def save(self) -> None:
        """Write a snapshot of every trial as it is now, at any moment between two updates."""
        for job in self._jobs:
            self._save(job, send=False)

    def _fill(self) -> None:
        """Give every free slot a trial, from the siblings in turn: those with the fewest members here go first.

        In a confirmation those with the most do, so that the seeds of one winner stand side by side: a stack of one
        variant is faster. A trial on which workers have died gets all slots, once they are free, so that it takes no
        other with it.
        """
        names = list(self.question.siblings)
        turn = self.index % len(names)
        left = names[turn:] + names[:turn]
        choose = max if self.question.definition.confirms else min
        while left and len(self._jobs) < self.slots and not any(job.alone for job in self._jobs):
            if self.stopping() or self.closing():
                return
            here = Counter(job.study for job in self._jobs)
            name = choose(left, key=lambda name: here[name])
            if not self._start(name):
                left.remove(name)

    def _start(self, name: str) -> bool:
        """Take a trial of a study and put it into a slot, unless it is a duplicate. False if there is none to take."""
        definition = self.question.definition
        pruner, beside_others = definition.pruner.make(definition.budget.steps), bool(self._jobs)
        trial = claim(name, self.question.cached, self._sampler(name), pruner, self._mark, beside_others=beside_others)
        if trial is None:
            return False
        try:
            job = self._begin(name, trial)
        except UpdateFinishedTrialError:
            self._report_end(trial, 0, "dropped", None, TAKEN)
            return True
        except BaseException as error:
            release(self.question.storage, trial, self._mark, cause(error))
            raise
        if job:
            self._jobs.append(job)
            for watcher in self.watchers:
                watcher.started(job)
            member = job.member
            self.report(Started(self.index, name, trial.number, member.config.train.max_iters, member.iteration))
        return True

    def _begin(self, name: str, trial: optuna.Trial) -> Job | None:
        """Give a claimed trial its member; None if there is nothing to train, or not as long as its twin runs."""
        definition = self.question.definition
        try:
            with self.question.cached.one_look(), self.question.cached.holding(trial) as given:
                config = configuration(trial, definition, self.question.siblings[name], self.corpus)
        except StorageLost:
            raise
        except (TunemaxError, ValueError) as error:
            # somebody has enqueued what no configuration, or no dimension, can have
            with self._finishing(trial, TrialState.FAIL, None):
                trial.set_user_attr(attributes.REASON, str(error))
            self._report_end(trial, 0, "failed", None, str(error))
            return None
        if not settle(self.question.storage, trial, self._mark, given, alike(self.question, origin(config))):
            return None
        if original := trained_before(trial.study, config):  # not earlier: it may just have been trained
            with self._finishing(trial, original.state, original.value):
                mark_duplicate(trial, original)
            self._snapshots.remove(name, trial.number)
            self._report_end(trial, 0, "duplicate", original.value, f"as trial {original.number}")
            return None
        trainer, before = self._pool.trainer(config), frozen(trial)
        reported, alone = before.intermediate_values, must_be_alone(before)
        member, record = self._snapshots.member(trainer, config, trial, definition)
        reports = {**record.reports, **reported}
        looked_at = map(definition.budget.course(config).iteration, reports)
        evaluated = member.iteration if member.iteration in looked_at else -1  # it died before, and makes up for it
        job = Job(trial, trainer, member, definition, evaluated=evaluated, reports=reports, alone=alone)
        job.probes = self._probes
        job.origin = continued(record.origin or parts_of(before), origin(config), member.iteration)
        job.misplaced = job.origin != given.system[attributes.ORIGIN]
        self._catch_up(job, record)
        return job

    def _catch_up(self, job: Job, record: Record) -> None:
        """Tell the storage again what it has lost and the trial's snapshot knows."""
        before = frozen(job.trial)
        lost = {step: value for step, value in record.reports.items() if step not in before.intermediate_values}
        reports = [(job.trial, step, value) for step, value in lost.items()]
        try:
            if reports and not all(report(self.question.storage, self._mark, reports)):
                raise UpdateFinishedTrialError
            if record.spared and attributes.SPARED not in before.user_attrs:
                job.spare(record.spared)
        except BaseException:
            job.leave()
            raise
        before.intermediate_values.update(lost)

    def _advance(self) -> None:
        """Train each trainer to its members' next evaluation point, and see to those who have reached theirs."""
        self._pool.drop_empty()
        for trainer in self._pool:
            mine = [job for job in self._jobs if job.trainer is trainer]
            for job in mine:
                job.branches.begin()
            with stopped_by(self.stopping):  # to compile takes half a minute, for an evaluation too
                trainer.prepare()
            left = min(job.due for job in mine)
            while left and not self.stopping():
                n = min(left, *(job.stride for job in mine))
                trainer.step(n)
                left -= n
                self._report_advance()
            if left:
                return
            reached = [job for job in mine if not job.due]
            with stopped_by(self.stopping):
                losses = evaluated(trainer, reached)
            for job, loss in zip(reached, losses, strict=True):
                job.take(loss)
            reached.sort(key=lambda job: job.value)  # the best first: only a leader writes a sample
            reports = [(job.trial, job.step, job.value) for job in reached]
            ours = report(self.question.storage, self._mark, reports)
            with self.question.cached.one_look():
                # All are judged before the first one ends: by what was known when they came here
                ends = [self._judge(job) if is_ours else "dropped" for job, is_ours in zip(reached, ours, strict=True)]
            for job, end in zip(reached, ends, strict=True):  # each sees who of them has ended before it
                self._see(job, end)

    def _judge(self, job: Job) -> str | None:
        """How a trial ends that has reported, or None. It is dropped if somebody else has finished it meanwhile."""
        try:
            return job.end()
        except UpdateFinishedTrialError:
            return "dropped"

    def _see(self, job: Job, end: str | None) -> None:
        """End a trial that has reported and was judged, or let it train on."""
        at = job.member.iteration
        if end == "dropped":
            self._drop(job)
            return
        try:
            for watcher in self.watchers:
                watcher.evaluated(job)
            if end is not None:
                self._end(job, end)
        except UpdateFinishedTrialError:
            self._drop(job)
            return
        if end is None:
            job.go_on()
            if time.monotonic() - job.saved >= EVERY:
                self._save(job)
            self.report(Reported(self.index, job.study, job.number, at, job.value))
            return
        self._snapshots.remove(job.study, job.number)
        self._leave(job)
        self._report_end(job.trial, at, end, job.value, job.reason)

    def _end(self, job: Job, end: str) -> None:
        """Finish a trial that has reported. Raises UpdateFinishedTrialError if it is ours no more."""
        state = TrialState.PRUNED if end == "pruned" else TrialState.COMPLETE
        reports = {**job.reports, job.step: job.value}
        with self._finishing(job.trial, state, job.value, reports):
            for watcher in self.watchers:
                watcher.ending(job, end)
            for name, finding in job.findings(end).items():
                job.trial.set_user_attr(name, finding)
            if job.misplaced:
                set_system_attr(job.trial, attributes.ORIGIN, job.origin)

    @contextlib.contextmanager
    def _finishing(
        self,
        trial: optuna.Trial,
        state: TrialState,
        value: float | None,
        reports: Mapping[int, float] = MappingProxyType({}),
    ) -> Iterator[None]:
        """Finish a trial, as `study.tell` would, with the attributes that it is given in this block.

        Raises UpdateFinishedTrialError if it is ours no more.
        """
        with self.question.cached.holding(trial) as pending:
            yield
            trial.study.sampler.after_trial(trial.study, frozen(trial), state, None if value is None else [value])
        if not finish(self.question.storage, trial, self._mark, state, value, pending, reports):
            raise UpdateFinishedTrialError

    def _drop(self, job: Job) -> None:
        """Let go of a trial that is ours no more: finished by hand, or taken over while this machine slept."""
        with contextlib.suppress(UpdateFinishedTrialError):
            for watcher in self.watchers:
                watcher.ending(job, "dropped")
        self._leave(job)
        self._report_end(job.trial, job.member.iteration, "dropped", None, TAKEN)

    def _give_back(self, fault: BaseException | None) -> None:
        """Put what is trained back among the waiting ones. If the storage is lost it is saved, and found there later.

        Raises StorageLost if that happens here.
        """
        lost = fault if isinstance(fault, StorageLost) else None
        while self._jobs and not lost:
            try:
                self._return(self._jobs[0], fault)
            except StorageLost as error:
                lost = error
        if lost:
            self.save()
            if fault is None:
                raise lost

    def _return(self, job: Job, fault: BaseException | None) -> None:
        """Put an interrupted trial back among the waiting ones, to go on from where it is.

        After a fault its member may be in any state, and an old snapshot is better than one of that.
        """
        at, reason = job.member.iteration, cause(fault)
        if not owned(self.question.storage, job.trial, self._mark):
            self._drop(job)
            return
        if fault is None:
            self._save(job, send=True)
        for watcher in self.watchers:
            watcher.ending(job, "returned")
        failed = release(self.question.storage, job.trial, self._mark, reason) == TrialState.FAIL
        self._leave(job)
        self._report_end(job.trial, at, "failed" if failed else "returned", None, reason)

    def _save(self, job: Job, send: bool | None = None) -> None:
        """Replace a trial's snapshot, if there is anything to go on from. send: as `Snapshots.save` has it."""
        if job.member.event is None and job.member.iteration:
            self._snapshots.save(job.snapshot(), job.study, job.number, send)
            job.saved = time.monotonic()

    def _report_advance(self) -> None:
        """Say now and then how far the members have come."""
        if time.monotonic() - self._advanced > ADVANCED:
            self._advanced = time.monotonic()
            iterations = {(job.study, job.number): job.member.iteration for job in self._jobs}
            self.report(Advanced(self.index, iterations))

    def _report_end(self, trial: optuna.Trial, at: int, end: str, value: float | None, reason: str | None) -> None:
        self.report(Finished(self.index, trial.study.study_name, trial.number, at, end, value, reason))

    def _leave(self, job: Job) -> None:
        job.leave()
        self._jobs.remove(job)

    def _sampler(self, name: str) -> optuna.samplers.BaseSampler:
        if name not in self._samplers:
            self._samplers[name] = self.question.sampler(name, self.index)
        return self._samplers[name]
