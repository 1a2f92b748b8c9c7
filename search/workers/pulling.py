"""A worker by itself: one process that takes what waits in a storage, wherever it runs and whoever has asked for it.

It never creates, publishes or confirms anything: that is left to whoever coordinates. Any number of them may come and
go; they meet in the storage alone.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from optuna.storages import RDBStorage

from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.origin import of_process
from tunemax.gpt.text_config import Text
from tunemax.search.machine.plan import plan
from tunemax.search.machine.processes import WorkerSettings, set_up
from tunemax.search.storage import tables
from tunemax.search.storage.database import check_writable, in_transaction, open_storage
from tunemax.search.storage.origins import Mixed, check_alike
from tunemax.search.storage.patience import LONG, Patience, StorageLost
from tunemax.search.storage.questions import Question, load, questions
from tunemax.search.storage.recovery import REAPING, reap
from tunemax.search.storage.sharing import apart
from tunemax.search.storage.texts import text_of
from tunemax.search.storage.transit import Transit
from tunemax.search.storage.urls import storage_errors
from tunemax.search.workers.crew import watchers
from tunemax.search.workers.events import Event, Note
from tunemax.search.workers.worker import Worker

PAUSE = 2.0
"""Seconds between two looks for trials that wait."""
SEEDS = 2**31
"""Indices of workers are drawn below this: their samplers never draw the same, whoever else works."""

Show = Callable[[Question, WorkerSettings], AbstractContextManager[Callable[[Event], None]]]
"""What is shown while a question is worked on: told of every event."""


@dataclass
class Puller:
    """One process that works for a storage until nothing has waited there for a while.

    Args:
        where: the storage, a path or a URL.
        names: of questions; whatever belongs to them, their repeats and confirmations, is theirs. Without any: all.
        show: what is shown of each question.
        note: told in one line what a user should know.
        slots: members that are trained at once; by default as each study says, as far as memory has room for it.
        idle: seconds for which it waits for more once nothing waits, or for the questions to be created.
        seconds: after this long no new trial starts.
    """

    where: str
    names: Sequence[str] = ()
    show: Show = lambda question, settings: contextlib.nullcontext(lambda event: None)
    note: Callable[[str], None] = lambda line: None
    slots: int | None = None
    idle: float = 0.0
    seconds: float | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    """Set by whoever wants it to end: what it trains goes back to the waiting trials, to be resumed elsewhere."""
    _refused: dict[str, str] = field(default_factory=dict)
    """Questions that it cannot train, and why."""
    _told: set[str] = field(default_factory=set)
    """Questions whose files lie elsewhere."""
    _corpora: dict[tuple[Text, str | None], Corpus] = field(default_factory=dict)

    def run(self) -> bool:
        """Work until nothing has waited for `idle` seconds, or the time is spent. False if it was told to stop.

        Raises TunemaxError if a question that was named cannot be trained here, or is not there; StorageLost if the
        storage stays out of reach.
        """
        patience = Patience(LONG, self.stop.wait, lambda line, over: self.note(line))
        storage = open_storage(self.where, create=False, patience=patience)
        check_writable(storage)
        self._closes = time.monotonic() + self.seconds if self.seconds else None
        try:
            with self._reaping(storage):
                self._pull(storage)
        except StorageLost:
            if not self.stop.is_set():
                raise
        return not self.stop.is_set()

    def _pull(self, storage: RDBStorage) -> None:
        busy = time.monotonic()
        while not self.stop.is_set() and not self._closing():
            known = questions(storage)
            worked = [self._work(storage, name) for name in _waiting(storage, self._asked(known), self._refused)]
            if any(worked):
                busy = time.monotonic()
            elif time.monotonic() - busy >= self.idle:
                self._check_names(known)
                return
            else:
                self.stop.wait(min(PAUSE, max(self.idle - (time.monotonic() - busy), 0.01)))

    def _asked(self, known: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
        """Those of the storage's questions that are this worker's, oldest first, with their studies."""
        return {
            question: list(studies)
            for question, studies in known.items()
            if not self.names or any(question == name or question.startswith(f"{name}.") for name in self.names)
        }

    def _check_names(self, known: Collection[str]) -> None:
        """Raise TunemaxError for a name that no question has, however long it was waited for."""
        if missing := [name for name in self.names if name not in known]:
            near = did_you_mean(missing[0], known) if known else "; it is empty"
            waited = f" after {self.idle:,.0f} s" if self.idle else ""
            raise TunemaxError(f"{missing[0]}: no such question in this storage{waited}{near}")

    def _work(self, storage: RDBStorage, name: str) -> bool:
        """Train what waits of a question. Returns whether there was anything to train."""
        try:
            question = load(storage, name)
            question.check_plugins()
            check_alike(question, of_process)
            corpus = self._corpus(question)
            settings = plan(question.definition, sum(map(len, question.trials().values())), 1, self.slots, begun=True)
        except StorageLost:
            raise
        except TunemaxError as error:
            self._refuse(name, error)
            return False
        if (line := apart(question)) and name not in self._told:
            self._told.add(name)
            self.note(line)
        question = question if settings.compiled is None else question.fixing(compile=settings.compiled)
        set_up(settings.route, settings.threads)
        with storage_errors(storage.url), self.show(question, settings) as report:
            index = secrets.randbelow(SEEDS)
            transit = Transit(question)
            watching = watchers(question, lambda line: report(Note(index, line)), transit)
            taken, stop = _Counted(report), self.stop.is_set
            worker = Worker(question, corpus, index, settings.slots, taken, stop, self._closing, watching, transit)
            try:
                worker.run()
            except Mixed as error:  # of two that began together, the other one was faster
                self._refuse(name, error)
        return taken.any

    def _corpus(self, question: Question) -> Corpus:
        """The text of a question; opened once. Raises TunemaxError if it cannot be had here."""
        key = (question.definition.text, question.definition.fingerprint)
        if key not in self._corpora:
            self._corpora[key] = text_of(question)
        question.check_data(self._corpora[key])
        return self._corpora[key]

    def _refuse(self, name: str, error: TunemaxError) -> None:
        """Leave a question to others; one that was asked for by its name ends the worker."""
        if self.names:
            raise error
        self._refused[name] = str(error)
        self.note(f"{error}; it is left to other workers")

    def _closing(self) -> bool:
        return self._closes is not None and time.monotonic() > self._closes

    @contextlib.contextmanager
    def _reaping(self, storage: RDBStorage) -> Iterator[None]:
        """Meanwhile what dead workers have left goes back to the waiting trials, at once and then now and then."""
        ended = threading.Event()

        def go() -> None:
            while True:
                with contextlib.suppress(Exception):  # the storage is out of reach: whoever trains will say so
                    reap(storage, itertools.chain(*self._asked(questions(storage)).values()))
                if ended.wait(REAPING):
                    return

        thread = threading.Thread(target=go, name="reaper", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=1.0)


@dataclass
class _Counted:
    """Passes events on, and knows whether there were any of a trial."""

    report: Callable[[Event], None]
    any: bool = False

    def __call__(self, event: Event) -> None:
        self.any = self.any or not isinstance(event, Note)
        self.report(event)


def _waiting(storage: RDBStorage, asked: Mapping[str, Sequence[str]], but: Collection[str]) -> list[str]:
    """Questions of which a trial waits, in the order in which they are given with their studies. but: not these."""
    with storage_errors(storage.url):
        waiting = in_transaction(storage, tables.waiting, [study for studies in asked.values() for study in studies])
    return [name for name, studies in asked.items() if name not in but and waiting.keys() & set(studies)]
