"""One run of a question on this machine: starts the workers, watches them, and stops them in good order."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from optuna.trial import TrialState

from gpt import hardware
from gpt.data import open_data
from gpt.errors import TunemaxError
from search import records
from search.artifacts import Artifacts
from search.boards import Boards
from search.events import Event, Finished, Gone, Note, Reported, Started
from search.plan import Plan
from search.question import Question, load_from
from search.recovery import reap
from search.storage import storage_errors
from search.trajectories import Trajectories
from search.worker import Watcher, Worker

RESTARTS = 5
"""How often in a row a worker is started again that died before it had reported anything. More than a trial has attempts."""
REAPING = 30.0
"""Seconds between two looks for trials of dead workers, also of other machines."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(where: str, name: str, plan: Plan, *, seconds: float | None, report: Callable[[Event], None]) -> bool:
    """Work on a question with some local worker processes until nothing waits. Returns False if it was interrupted.

    where: the storage. seconds: after this long no new trial starts. Ctrl-C and SIGTERM stop the workers at their next look;
    what they were training goes back to the waiting trials, to be resumed. A worker that dies is replaced, and its trials go
    on from their snapshots. Few waiting trials are spread over the workers. Raises TunemaxError when workers keep dying
    without getting anything further, or cannot begin.
    """
    question = load_from(where, name)
    reap(question)
    waiting = sum(trial.state == TrialState.WAITING for trials in question.trials().values() for trial in trials)
    workers = min(plan.workers, waiting)
    slots = min(plan.slots, -(-waiting // max(workers, 1)))
    closes = time.time() + seconds if seconds else None
    crew = _Crew(where, name, replace(plan, workers=workers, slots=slots), closes)
    interrupted = threading.Event()
    before = {number: signal.signal(number, lambda *_: interrupted.set()) for number in SIGNALS}
    deaths: Counter[int] = Counter()  # of each worker, since it last reported anything
    begun: dict[int, set[tuple[str, int]]] = defaultdict(set)
    refusal: TunemaxError | None = None
    reaped, loose = time.monotonic(), 0  # how many trials were put back since a worker was last seen to end
    try:
        for index in range(workers):
            crew.start(index)
        while crew.links:
            for link, said in crew.listen():
                if isinstance(said, TunemaxError):
                    refusal = said
                elif said is not None:
                    report(said)
                    _follow(said, begun, deaths)
                else:
                    index, process = crew.bury(link)
                    status = process.exitcode
                    # It may have looked for trials for the last time before those were put back.
                    freed, loose = loose + reap(question, {process.pid or 0: _fate(status)} if status else None), 0
                    for ended in _ended(question, index, begun.pop(index, set())):
                        report(ended)
                    report(Gone(index))
                    going = not refusal and not interrupted.is_set()
                    if status:
                        deaths[index] += 1
                        going = going and deaths[index] <= RESTARTS
                        report(Note(index, f"worker {index} died ({_fate(status)}){'; started again' if going else ''}"))
                    if going and (status or freed):  # what was freed may be another run's, for which no worker is left
                        crew.start(index)
            if time.monotonic() - reaped > REAPING:
                loose += reap(question)
                reaped = time.monotonic()
            if refusal or interrupted.is_set():
                crew.stop()
    finally:
        crew.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    if max(deaths.values(), default=0) > RESTARTS and not refusal and not interrupted.is_set():
        refusal = TunemaxError(f"{name}: a worker died {RESTARTS + 1} times in a row; what is finished is kept, the rest waits")
    if refusal:
        raise refusal
    return not interrupted.is_set()


def _follow(said: Event, begun: dict[int, set[tuple[str, int]]], deaths: Counter[int]) -> None:
    """Keep the account of the trials that each worker has, and of its deaths without progress."""
    if isinstance(said, Started):
        begun[said.worker].add((said.study, said.trial))
    elif isinstance(said, Finished):
        begun[said.worker].discard((said.study, said.trial))
    if isinstance(said, Reported) or (isinstance(said, Finished) and said.state in ("complete", "pruned", "diverged", "duplicate")):
        deaths[said.worker] = 0  # what a worker that breaks gives back, or has failed, is no progress


def _ended(question: Question, worker: int, trials: set[tuple[str, int]]) -> Iterator[Finished]:
    """Those trials of a worker that have ended although it could say so no more: it died a moment later, or once too often."""
    for study, number in sorted(trials):
        trial = question.study(study).get_trials(deepcopy=False)[number]
        if trial.state.is_finished():
            reason = trial.user_attrs.get(records.REASON) or trial.user_attrs.get(records.DIVERGED)
            yield Finished(worker, study, number, trial.last_step or 0, records.state(trial), trial.value, reason)


class _Crew:
    """The worker processes, each behind a pipe of its own: a shared queue or event would not survive a killed worker.

    Through its pipe a worker says what happens, and why it cannot begin. It stops as soon as there is something to read,
    or its supervisor is gone.
    """

    def __init__(self, where: str, name: str, plan: Plan, deadline: float | None) -> None:
        self.links: dict[Connection, tuple[int, BaseProcess]] = {}
        self._context = multiprocessing.get_context("spawn")
        self._order = (where, name, plan, deadline)
        self._stopped: set[Connection] = set()
        resource_tracker.ensure_running()  # `Process.start` would start it first, and that unblocks what `start` has blocked

    def start(self, index: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, index, *self._order), daemon=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # Ctrl-C goes to the whole group; a worker inherits that it must not hear it
        with hardware.large_pages():
            process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        theirs.close()
        self.links[ours] = (index, process)

    def listen(self) -> list[tuple[Connection, Event | TunemaxError | None]]:
        """What workers have said by now, waiting a moment if nothing; None from one that has ended."""
        return [(link, _hear(link)) for link in wait(list(self.links), timeout=0.2) if isinstance(link, Connection)]

    def bury(self, link: Connection) -> tuple[int, BaseProcess]:
        """Forget a worker that has ended. Returns its index and what is left of its process."""
        index, process = self.links.pop(link)
        process.join()
        link.close()
        return index, process

    def stop(self) -> None:
        """Ask every worker, once, to give back what it trains and end."""
        for link in self.links.keys() - self._stopped:
            with contextlib.suppress(OSError):  # it has ended
                link.send(None)
        self._stopped.update(self.links)


def watchers(question: Question, note: Callable[[str], None]) -> list[Watcher]:
    """Who follows the trials of a worker. note: told in one line what a user should know."""
    return [Boards(question, note), Trajectories(question.storage.url), Artifacts(question.storage.url, note)]


def _hear(link: Connection) -> Event | TunemaxError | None:
    try:
        said: Event | TunemaxError = link.recv()
        return said
    except (EOFError, OSError):
        return None


def _fate(status: int) -> str:
    """What a process died of, by its exit status."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}; the lines above say why"


def _work(link: Connection, index: int, where: str, name: str, plan: Plan, deadline: float | None) -> None:
    """The body of a worker process."""
    import torch

    hardware.keep_memory()
    hardware.take(plan.route)

    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(plan.threads)

    def say(said: Event | TunemaxError) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone; `poll` knows too
            link.send(said)

    def note(line: str) -> None:
        say(Note(index, line))

    try:
        question = load_from(where, name)
        question = question.fixing(compile=True) if plan.compiled else question
        with storage_errors(question.storage.url):
            corpus = open_data(question.definition.data)
            question.check_data(corpus)
            closing = (lambda: False) if deadline is None else (lambda: time.time() > deadline)
            watching = watchers(question, note)
            Worker(question, corpus, index, plan.slots, report=say, stopping=link.poll, closing=closing, watchers=watching).run()
    except TunemaxError as error:  # the user's to mend; another start would meet it again
        say(error)
