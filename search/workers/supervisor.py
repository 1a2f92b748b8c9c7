"""One run of a question on this machine: starts the workers, watches them, and stops them in good order."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from optuna.trial import TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.search.machine.processes import SIGNALS, WorkerSettings, warm
from tunemax.search.storage.patience import LONG, Patience, StorageLost
from tunemax.search.storage.questions import Question, load_from
from tunemax.search.storage.queue import deferred
from tunemax.search.storage.recovery import REAPING, Witness, reap
from tunemax.search.workers.attending import ending
from tunemax.search.workers.crew import Crew
from tunemax.search.workers.events import Event, Finished, Gone, Note, Outage, Reported, Started

RESTARTS = 5
"""Restarts in a row of a worker that dies before it has reported anything; more than a trial has attempts."""
ENDED = ("complete", "pruned", "diverged", "duplicate", "failed")
"""How a trial that a worker tells of has ended in the storage."""
SUPERVISOR = -1
"""Its index, where workers have theirs."""
PAUSE = 1.0
"""Seconds between two looks at trials that wait for equal ones."""


def run(
    where: str, name: str, settings: WorkerSettings, *, seconds: float | None, report: Callable[[Event], None]
) -> bool:
    """Work on a question with some local worker processes until nothing waits. Returns False if it was interrupted.

    where: the storage. seconds: after this long no new trial starts. Ctrl-C and SIGTERM stop the workers at their next
    look; what they were training goes back to the waiting trials, to be resumed. A worker that dies is replaced, and
    its trials go on from their snapshots. Few waiting trials are spread over the workers. While all that wait are equal
    to trials that others train, it waits for those. A storage that is out of reach is waited for. Raises TunemaxError
    when workers keep dying without getting anything further, or cannot begin; StorageLost when the storage stays out of
    reach, or is not the one any more that was opened.
    """
    warm()
    interrupted = threading.Event()
    refusal: TunemaxError | None = None
    outages = _Outages(report)
    patience = Patience(
        LONG,
        lambda seconds: bool(refusal) or interrupted.wait(seconds),
        lambda text, over: outages.take(Outage(SUPERVISOR, text, over)),
    )
    question = load_from(where, name, patience)
    witness = Witness(question.storage, question.siblings)
    reap(question.storage, question.siblings)
    waiting = sum(trial.state == TrialState.WAITING for trials in question.trials().values() for trial in trials)
    workers = min(settings.workers, waiting)
    slots = min(settings.slots, -(-waiting // max(workers, 1)))
    closes = time.monotonic() + seconds if seconds else None
    crew = Crew(where, name, replace(settings, workers=workers, slots=slots), closes)
    before = {number: signal.signal(number, lambda *_: interrupted.set()) for number in SIGNALS}
    deaths: Counter[int] = Counter()  # of each worker, since it last reported anything
    begun: dict[int, set[tuple[str, int]]] = defaultdict(set)
    looked, loose = time.monotonic(), 0  # how many trials were put back since a worker was last seen to end

    def over() -> bool:
        """Whether no worker is to be started any more."""
        spent = closes is not None and time.monotonic() > closes
        return bool(refusal) or interrupted.is_set() or spent or max(deaths.values(), default=0) > RESTARTS

    def look(fates: Mapping[int, str] | None = None) -> int:
        """Reap what the dead have left; returns how many trials. If the storage is lost, the run ends."""
        nonlocal looked, refusal
        looked = time.monotonic()
        try:
            witness.check()
            return reap(question.storage, question.siblings, fates)
        except TunemaxError as error:
            refusal = refusal or error
            return 0

    try:
        for index in range(workers):
            crew.start(index)
        while crew.links or _held_up(question, over, interrupted.wait, report, look):
            if not crew.links:
                crew.start(0)
            for link, message in crew.listen():
                if isinstance(message, TunemaxError):
                    if not isinstance(message, StorageLost):
                        look()  # which may know better what has happened to the storage
                    refusal = refusal or message
                elif isinstance(message, Outage):
                    outages.take(message)
                elif message is not None:
                    report(message)
                    _follow(message, begun, deaths)
                    if isinstance(message, Finished) and message.state in ENDED:
                        witness.saw(message.study)
                else:
                    index, number, status = crew.bury(link)
                    # It may have looked for trials for the last time before those were put back.
                    freed, loose = loose + look({number: _fate(status)} if status else None), 0
                    for ended in _ended(question, index, begun.pop(index, set())) if not refusal else ():
                        report(ended)
                    report(Gone(index))
                    outages.forget(index)
                    going = not refusal and not interrupted.is_set()
                    if status:
                        deaths[index] += 1
                        going = going and deaths[index] <= RESTARTS
                        again = "; started again" if going else ""
                        report(Note(index, f"worker {index} died ({_fate(status)}){again}"))
                    if going and (status or freed):  # what was freed may be another run's, for which no worker is left
                        crew.start(index)
            if time.monotonic() - looked > REAPING:
                loose += look()
            if refusal or interrupted.is_set():
                crew.stop()
        if not refusal and not interrupted.is_set():
            look()  # what the workers have told may be lost by now
    finally:
        crew.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    if interrupted.is_set() and (refusal is None or isinstance(refusal, StorageLost)):
        return False
    if max(deaths.values(), default=0) > RESTARTS and not refusal:
        deaths_in_a_row = f"a worker died {RESTARTS + 1} times in a row"
        refusal = TunemaxError(f"{name}: {deaths_in_a_row}; what is finished is kept, the rest waits")
    if refusal:
        raise refusal
    return True


class _Outages:
    """Tells that the storage is out of reach once, whoever notices, and once more when it is in reach of all."""

    def __init__(self, report: Callable[[Event], None]) -> None:
        self._report, self._waiting = report, set[int]()

    def take(self, event: Outage) -> None:
        before = bool(self._waiting)
        if event.over:
            self._waiting.discard(event.worker)
        else:
            self._waiting.add(event.worker)
        if bool(self._waiting) != before:
            self._report(Note(event.worker, event.text))

    def forget(self, worker: int) -> None:
        """It has ended."""
        self._waiting.discard(worker)


def _held_up(
    question: Question,
    over: Callable[[], bool],
    pause: Callable[[float], object],
    report: Callable[[Event], None],
    look: Callable[[], int],
) -> bool:
    """Wait as long as all waiting trials are equal to some that others train. Returns whether any can be taken then.

    False at once if there are none such. Whoever trains them may die, which `look` sees.
    """
    looked, held = time.monotonic(), 0
    while not over():
        trials = question.trials().values()
        left = sum(len(deferred(each)) for each in trials)
        if left < sum(trial.state == TrialState.WAITING for each in trials for trial in each):
            return held > 0
        if not left:
            return False
        if not held:
            about = f"what still waits is equal to what others train ({left}), and is held back until that has ended"
            report(Note(0, about))
        held = left
        pause(PAUSE)
        if time.monotonic() - looked > REAPING:
            look()
            looked = time.monotonic()
    return False


def _follow(event: Event, begun: dict[int, set[tuple[str, int]]], deaths: Counter[int]) -> None:
    """Keep the account of the trials that each worker has, and of its deaths without progress."""
    progress = isinstance(event, Reported)
    if isinstance(event, Started):
        begun[event.worker].add((event.study, event.trial))
    elif isinstance(event, Finished):
        begun[event.worker].discard((event.study, event.trial))
        # what a worker that breaks gives back, or has failed, is no progress
        progress = event.state in ("complete", "pruned", "diverged", "duplicate")
    if progress:
        deaths[event.worker] = 0


def _ended(question: Question, worker: int, trials: set[tuple[str, int]]) -> Iterator[Finished]:
    """Those trials of a worker that have ended and of which it could not tell: it died a moment later, or too often."""
    for study, number in sorted(trials):
        trial = question.study(study).get_trials(deepcopy=False)[number]
        if trial.state.is_finished():
            yield ending(question, worker, study, trial)


def _fate(status: int) -> str:
    """What a process died of, by its exit status."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}; the lines above say why"
