"""The worker processes of a run, each behind a pipe of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from tunemax.gpt.errors import TunemaxError
from tunemax.search.machine.processes import FORKING, UNKNOWN, WorkerSettings, begin, set_up
from tunemax.search.workers.events import Event, Note, Outage

if TYPE_CHECKING:  # who warms up has loaded nothing yet
    from tunemax.search.storage.questions import Question
    from tunemax.search.storage.transit import Transit
    from tunemax.search.workers.worker import Watcher


Message = Event | Outage | TunemaxError


class Crew:
    """The worker processes, each behind a pipe of its own: a shared queue or event would not survive a killed worker.

    Through its pipe a worker says what happens, and why it cannot begin. It stops as soon as there is something to
    read, or its supervisor is gone.
    """

    def __init__(self, where: str, name: str, settings: WorkerSettings, deadline: float | None) -> None:
        self.links: dict[Connection, tuple[int, BaseProcess]] = {}
        self._order = (where, name, settings, deadline)
        self._stopped: set[Connection] = set()

    def start(self, index: int) -> None:
        ours, theirs = FORKING.Pipe()
        process = begin(_work, theirs, index, *self._order)
        theirs.close()
        self.links[ours] = (index, process)

    def listen(self) -> list[tuple[Connection, Message | None]]:
        """What workers have said by now, waiting a moment if nothing; None from one that has ended."""
        return [(link, _hear(link)) for link in wait(list(self.links), timeout=0.2) if isinstance(link, Connection)]

    def bury(self, link: Connection) -> tuple[int, int, int | None]:
        """Forget a worker that has ended.

        Returns its index, its process's number and exit status; None if nobody knows that.
        """
        index, process = self.links.pop(link)
        process.join()
        link.close()
        return index, process.pid or 0, None if process.exitcode == UNKNOWN else process.exitcode

    def stop(self) -> None:
        """Ask every worker, once, to give back what it trains and end."""
        for link in self.links.keys() - self._stopped:
            with contextlib.suppress(OSError):  # it has ended
                link.send(None)
        self._stopped.update(self.links)


def watchers(question: Question, note: Callable[[str], None], transit: Transit) -> list[Watcher]:
    """Who follows the trials of a worker. note: told in one line what a user should know. transit: of its files."""
    from tunemax.search.storage.transit import RowStore
    from tunemax.search.workers.artifacts import Artifacts
    from tunemax.search.workers.learnables import Trajectories
    from tunemax.search.workers.loggers import TrialLoggers
    from tunemax.search.workers.weights import Weights

    url = question.storage.url
    elsewhere = transit if transit.apart else None
    store = RowStore(question.name, transit) if transit.apart else None
    return [TrialLoggers(question, note), Trajectories(url), Artifacts(url, note, store), Weights(url, note, elsewhere)]


def _hear(link: Connection) -> Message | None:
    try:
        message: Message = link.recv()
        return message
    except (EOFError, OSError):
        return None


def _work(
    link: Connection, index: int, where: str, name: str, settings: WorkerSettings, deadline: float | None
) -> None:
    """The body of a worker process."""
    from tunemax.gpt import plugins
    from tunemax.gpt.origin import of_process
    from tunemax.search.storage.origins import check_alike
    from tunemax.search.storage.patience import LONG, Patience
    from tunemax.search.storage.questions import load_from
    from tunemax.search.storage.texts import text_of
    from tunemax.search.storage.transit import Transit
    from tunemax.search.storage.urls import storage_errors
    from tunemax.search.workers.worker import Worker

    set_up(settings.route, settings.threads)

    def say(message: Message) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone; `poll` knows too
            link.send(message)

    def closing() -> bool:
        return deadline is not None and time.monotonic() > deadline

    worker: Worker | None = None

    def out_of_reach(line: str, over: bool) -> None:
        say(Outage(index, line, over))
        if worker and not over:
            worker.save()  # what is trained must not depend on this process alone

    try:
        plugins.load_named()
        question = load_from(where, name, Patience(LONG, link.poll, out_of_reach))
        question.check_plugins()  # a file may have changed since the run began
        check_alike(question, of_process)
        question = question if settings.compiled is None else question.fixing(compile=settings.compiled)
        with storage_errors(question.storage.url):
            corpus = text_of(question)
            transit = Transit(question)
            watching = watchers(question, lambda line: say(Note(index, line)), transit)
            worker = Worker(question, corpus, index, settings.slots, say, link.poll, closing, watching, transit)
            worker.run()
    except TunemaxError as error:  # the user's to mend; another start would meet it again
        say(error)
