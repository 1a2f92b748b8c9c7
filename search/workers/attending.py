"""A run without workers of its own: others train, and it waits until they have ended all there is."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from optuna.trial import FrozenTrial, TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.search.machine.processes import SIGNALS
from tunemax.search.storage import attributes
from tunemax.search.storage.patience import LONG, Patience, StorageLost
from tunemax.search.storage.questions import Question, load_from
from tunemax.search.storage.queue import in_hand, to_take
from tunemax.search.storage.recovery import REAPING, Witness, reap
from tunemax.search.storage.transit import bring_home
from tunemax.search.workers.events import Event, Finished, Note

PAUSE = 2.0
"""Seconds between two looks."""
LONELY = 60.0
"""Seconds without anybody at work after which that is said."""
ATTENDING = -1
"""Its index, where workers have theirs."""

Trials = Sequence[Sequence[FrozenTrial]]
"""Of each sibling."""
Look = Callable[[], str | None]
"""How those who train are, asked now and then: a line to tell, or None. What it raises ends the wait."""


def nothing_to_tell() -> None:
    """Those who train are others' business."""


def all_ended(trials: Trials) -> bool:
    """Nothing waits, and no worker has anything in hand."""
    return nobody_trains(trials) and not any(trial.state == TrialState.WAITING for each in trials for trial in each)


def nobody_trains(trials: Trials) -> bool:
    """No worker has anything in hand."""
    return not any(map(in_hand, trials))


def some_wait_or_nobody_trains(trials: Trials) -> bool:
    """There is something to take, since whoever had it is dead or has given it back; or nothing more is to come."""
    return nobody_trains(trials) or any(map(to_take, trials))


def attend(
    where: str,
    name: str,
    *,
    seconds: float | None,
    report: Callable[[Event], None],
    until: Callable[[Trials], bool] = all_ended,
    look: Look = nothing_to_tell,
) -> bool:
    """Wait while workers of other runs train a question. Returns False if it was interrupted.

    where: the storage. seconds: no longer than this. until: what is waited for. look: how those workers are. What dead
    workers have left goes back to the waiting trials. Every trial that ends meanwhile is told. Raises StorageLost when
    the storage stays out of reach, or is not the one any more that was opened.
    """
    interrupted = threading.Event()
    patience = Patience(LONG, interrupted.wait, lambda line, over: report(Note(ATTENDING, line)))
    question = load_from(where, name, patience)
    witness = Witness(question.storage, question.siblings)
    closes = time.monotonic() + seconds if seconds else None
    before = {number: signal.signal(number, lambda *_: interrupted.set()) for number in SIGNALS}
    known = {(study, trial.number) for study, trial in _finished(question)}
    looked, seen, said = -math.inf, time.monotonic(), False
    try:
        while not interrupted.is_set() and not (closes and time.monotonic() > closes):
            if time.monotonic() - looked > REAPING:
                witness.check()
                reap(question.storage, question.siblings)
                with contextlib.suppress(TunemaxError):  # whoever has started this run tries again at its end
                    bring_home(question)
                looked = time.monotonic()
            for study, trial in _finished(question):
                if (study, trial.number) not in known:
                    known.add((study, trial.number))
                    witness.saw(study)
                    report(ending(question, ATTENDING, study, trial))
            if line := look():
                report(Note(ATTENDING, line))
            trials = list(question.trials().values())
            if until(trials):
                break
            if not nobody_trains(trials):
                seen = time.monotonic()
            elif time.monotonic() - seen > LONELY and not said:
                report(Note(ATTENDING, "nobody works on it; start somebody with tunemax worker"))
                said = True
            interrupted.wait(PAUSE)
    except StorageLost:
        if not interrupted.is_set():
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return not interrupted.is_set()


def _finished(question: Question) -> Iterator[tuple[str, FrozenTrial]]:
    for study, trials in question.trials().items():
        for trial in trials:
            if trial.state.is_finished():
                yield study, trial


def ending(question: Question, worker: int, study: str, trial: FrozenTrial) -> Finished:
    """How a trial has ended of which its worker does not tell here."""
    reason = trial.user_attrs.get(attributes.REASON) or trial.user_attrs.get(attributes.DIVERGED)
    at = attributes.iteration(trial, question.definition.budget, trial.last_step or 0)
    return Finished(worker, study, trial.number, at, attributes.state(trial), trial.value, reason)
