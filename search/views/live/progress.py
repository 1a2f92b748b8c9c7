"""Where a run stands: what is known of each candidate and each slot, kept up to date by what workers tell."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.budget import Budget
from tunemax.search.storage.attributes import ITERATIONS, losses, ranks, state
from tunemax.search.storage.questions import Question
from tunemax.search.views.live.pace import Pace
from tunemax.search.workers.events import Advanced, Event, Finished, Gone, Note, Reported, Started

ENDS = ("complete", "pruned", "diverged", "duplicate", "failed", "dropped")
"""The ways in which a trial ends for good."""
RECOUNT = 30.0
"""Seconds between two looks into the storage, where others may work on the same question."""


@dataclass
class Candidate:
    """What is known of one sibling study."""

    planned: int
    running: int = 0
    """Trials that run here."""
    best: tuple[float, int] | None = None
    """The lowest loss of a complete trial, and the trial's number."""
    ended: dict[int, tuple[str, int | None]] = field(default_factory=dict)
    """Trial → how it ended, and its iterations as far as they are known."""

    @property
    def done(self) -> int:
        return len(self.ended)

    @property
    def total(self) -> int:
        """The budget; more if workers have found more."""
        return max(self.planned, self.done + self.running)

    def counts(self) -> dict[str, int]:
        """How many trials have ended in each of the ways."""
        found = Counter(end for end, _ in self.ended.values())
        return {end: found[end] for end in ENDS}


@dataclass
class Slot:
    """The trial that a slot of some worker has, or had last."""

    worker: int
    study: str
    trial: int
    horizon: int
    iteration: int
    losses: dict[int, float] = field(default_factory=dict)
    """Iteration → validation loss, in order."""
    end: str | None = None
    """None while it runs; else as in Finished, or lost: its worker has gone."""


@dataclass(frozen=True)
class Happening:
    """Something for the user to read. seconds: into the run. leads: what the trial is the best of so far."""

    seconds: float
    event: Finished | Note
    leads: str = ""


@dataclass
class Progress:
    """The state of a run.

    closes: seconds into the run after which no trial starts. look: reads all trials from the storage. now: a clock, in
    seconds.
    """

    candidates: dict[str, Candidate]
    closes: float | None = None
    look: Callable[[], Mapping[str, Sequence[FrozenTrial]]] | None = None
    now: Callable[[], float] = time.monotonic
    budget: Budget | None = None
    """Of the question: in what its trials have reported; None: in iterations."""
    slots: list[Slot] = field(default_factory=list)
    """In the order in which they were first filled. A trial takes the place of one of its worker's that has ended."""
    recent: deque[Happening] = field(default_factory=lambda: deque(maxlen=20))
    notes: list[Note] = field(default_factory=list)
    steps: int = 0
    """Member-steps trained in this run."""
    pace: Pace = field(default_factory=Pace)
    began: float = field(init=False)
    _running: dict[tuple[str, int], Slot] = field(default_factory=dict)
    _curves: dict[tuple[str, int], dict[int, float]] = field(default_factory=dict)
    """Losses of trials that have been running, here or elsewhere, and may come back."""
    _looked: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self._looked = self.now()

    @classmethod
    def of(cls, question: Question, closes: float | None = None) -> Progress:
        """Begin with what is in the storage."""
        progress = cls({}, closes, question.trials, budget=question.definition.budget)
        progress.count(question.trials())
        return progress

    def take(self, event: Event) -> None:
        """Follow one event. The storage is looked into as well, if the last look is long ago."""
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Advanced):
            for key, iteration in event.iterations.items():
                self._advance(key, iteration)
        elif isinstance(event, Reported):
            self._advance((event.study, event.trial), event.iteration)
            if slot := self._running.get((event.study, event.trial)):
                slot.losses[event.iteration] = event.value
        elif isinstance(event, Finished):
            self._finish(event)
        elif isinstance(event, Gone):
            for key, slot in list(self._running.items()):
                if slot.worker == event.worker:
                    self._vacate(key, "lost")
        else:
            self.notes.append(event)
            self.recent.append(Happening(self.elapsed, event))
        self.pace.mark(self.now(), self.steps)
        if self.look and self.now() - self._looked >= RECOUNT:
            self._looked = self.now()
            with contextlib.suppress(TunemaxError):  # the run meets it too, if it lasts
                self.count(self.look())

    def count(self, trials: Mapping[str, Sequence[FrozenTrial]]) -> None:
        """Take over what the storage knows: trials that others have finished or added, curves that may go on here."""
        for name, found in trials.items():
            candidate = self._candidate(name)
            candidate.planned = len(found)
            for trial in found:
                if (name, trial.number) in self._running:
                    continue  # its worker tells more, and what the storage knows by now it tells in a moment
                if trial.state.is_finished():
                    end = state(trial)
                    length = 0 if end == "duplicate" else trial.user_attrs.get(ITERATIONS)
                    self._end(candidate, trial.number, end, trial.value if ranks(trial) else None, length)
                else:
                    self._reopen(candidate, trial.number)  # it was dropped here, since another machine has it
                    known = losses(trial, self.budget) if self.budget else trial.intermediate_values
                    self._curves[name, trial.number] = known

    def _start(self, event: Started) -> None:
        key, candidate = (event.study, event.trial), self._candidate(event.study)
        self._vacate(key, "lost")  # it may come back from a worker that died
        self._reopen(candidate, event.trial)
        slot = self._running[key] = Slot(event.worker, event.study, event.trial, event.horizon, event.iteration)
        candidate.running += 1
        slot.losses = {at: loss for at, loss in sorted(self._curves.get(key, {}).items()) if at <= event.iteration}
        again = [old for old in self.slots if (old.study, old.trial) == key]
        free = next((old for old in [*again, *self.slots] if old.end and old.worker == event.worker), None)
        self.slots = [slot if old is free else old for old in self.slots if old is free or old not in again]
        if free is None:
            self.slots.append(slot)

    def _advance(self, key: tuple[str, int], iteration: int) -> None:
        slot = self._running.get(key)
        if slot and iteration > slot.iteration:
            self.steps += iteration - slot.iteration
            slot.iteration = iteration

    def _finish(self, event: Finished) -> None:
        key, candidate = (event.study, event.trial), self._candidate(event.study)
        self._advance(key, event.iteration)
        slot = self._running.get(key)
        if slot and event.value is not None:
            slot.losses[event.iteration] = event.value
        self._vacate(key, event.state)
        leads = ""
        if event.state in ENDS and self._end(candidate, event.trial, event.state, event.value, event.iteration):
            best = min(other.best for other in self.candidates.values() if other.best)
            leads = "of all" if candidate.best == best else f"of {event.study.rpartition('/')[2]}"
        self.recent.append(Happening(self.elapsed, event, leads))

    def _vacate(self, key: tuple[str, int], end: str) -> None:
        """The trial runs no more, if it did."""
        if slot := self._running.pop(key, None):
            slot.end = end
            self._curves[key] = slot.losses
            self.candidates[slot.study].running -= 1

    def _end(self, candidate: Candidate, trial: int, end: str, value: float | None, length: int | None) -> bool:
        """Enter how a trial has ended. Returns whether it leads its candidate now."""
        self._reopen(candidate, trial)
        candidate.ended[trial] = (end, length)
        if length is not None:
            self.pace.lengths[length] += 1
        leads = end == "complete" and value is not None and (candidate.best is None or value < candidate.best[0])
        if leads and value is not None:
            candidate.best = (value, trial)
        return leads

    def _reopen(self, candidate: Candidate, trial: int) -> None:
        """The trial has not ended, after all, or not in the way in which it was entered."""
        _, length = candidate.ended.pop(trial, (None, None))
        if length is not None:
            self.pace.lengths[length] -= 1

    def _candidate(self, name: str) -> Candidate:
        return self.candidates.setdefault(name, Candidate(0))

    @property
    def done(self) -> int:
        return sum(candidate.done for candidate in self.candidates.values())

    @property
    def total(self) -> int:
        return sum(candidate.total for candidate in self.candidates.values())

    @property
    def running(self) -> int:
        return len(self._running)

    def counts(self) -> dict[str, int]:
        """How many trials of all candidates have ended in each of the ways."""
        found: Counter[str] = Counter()
        for candidate in self.candidates.values():
            found.update(candidate.counts())
        return {end: found[end] for end in ENDS}

    @property
    def elapsed(self) -> float:
        return self.now() - self.began

    @property
    def rate(self) -> float:
        """Member-steps a second in the last minute."""
        return self.pace.rate(self.now())

    @property
    def eta(self) -> float | None:
        """Seconds to the end at the pace of the last minute; None while there is no telling, and when all is done."""
        running = [(slot.iteration, slot.horizon) for slot in self._running.values()]
        closes = None if self.closes is None else self.began + self.closes
        seconds = self.pace.eta(self.now(), running, self.total - self.done - self.running, closes)
        return seconds or None
