"""What a trial asks of its storage: statements, commits and round trips; and what a claim costs where many trials wait.

    python benchmarks/storage.py                                                    # SQLite
    python benchmarks/storage.py --server postgresql+psycopg://me@host/postgres     # that server, too
    python benchmarks/storage.py --quick                                            # only to see that it works

A worker as it is, whose trainings are stubs: see stubs.py. Statements and commits are counted by SQLAlchemy's events,
round trips on the wire, in a run of their own: each time that the client speaks after the server has. A study's first
trials are left out: they find out what a worker then knows. Every database is made for this, and removed. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from unittest import mock

import sqlalchemy
import torch
from optuna.samplers import RandomSampler
from report import environment, table
from sqlalchemy.engine import make_url
from stubs import corpus, definition, fresh_database, training

import tunemax.search.workers.worker
from tunemax.gpt.data import Corpus
from tunemax.search.storage import study_tables
from tunemax.search.storage.database import in_transaction
from tunemax.search.storage.marks import mark
from tunemax.search.storage.questions import Question, create
from tunemax.search.storage.queue import claim, waiting
from tunemax.search.workers.worker import Worker

PHASES = ("claim", "settle", "trained_before", "report", "finish")
"""Functions of the worker; what none of them does is the rest: the sampler, and whether to prune."""
REST = "rest"
FIRST = 5
"""Trials that are not counted."""


@dataclass
class Counts:
    """What has reached the database, by phase."""

    statements: Counter[str] = field(default_factory=Counter)
    commits: Counter[str] = field(default_factory=Counter)
    phase: str = REST
    counting: bool = False

    def within(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def phase(*args: Any, **kwargs: Any) -> Any:
            self.phase = name
            try:
                return function(*args, **kwargs)
            finally:
                self.phase = REST

        return phase

    @contextlib.contextmanager
    def watching(self, engine: sqlalchemy.Engine) -> Iterator[None]:
        def statement(*_: Any) -> None:
            self.statements[self.phase] += self.counting

        def commit(*_: Any) -> None:
            self.commits[self.phase] += self.counting

        with contextlib.ExitStack() as stack:
            for name in PHASES:
                if function := getattr(tunemax.search.workers.worker, name, None):
                    counted = self.within(name, function)
                    stack.enter_context(mock.patch.object(tunemax.search.workers.worker, name, counted))
            for event, listener in (("before_cursor_execute", statement), ("commit", commit)):
                sqlalchemy.event.listen(engine, event, listener)
                stack.callback(sqlalchemy.event.remove, engine, event, listener)
            yield


@dataclass
class Wire:
    """Between a client and a server, counting how often the client has waited for an answer."""

    host: str
    port: int
    trips: int = 0
    counting: bool = False

    def __enter__(self) -> Wire:
        self._listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def through(self, url: str) -> str:
        """The URL of the same database on this wire."""
        port: int = self._listening.getsockname()[1]
        return make_url(url).set(host="127.0.0.1", port=port).render_as_string(hide_password=False)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection((self.host, self.port))
                threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        last = server
        with client, server, contextlib.suppress(OSError):
            while True:
                for speaker in select.select((client, server), (), ())[0]:
                    if not (data := speaker.recv(1 << 16)):
                        return
                    self.trips += self.counting and speaker is client and last is server
                    last = speaker
                    (server if speaker is client else client).sendall(data)


@dataclass(frozen=True)
class Cost:
    """Of a trial."""

    counts: Counts
    trials: int
    cpu: float
    wall: float


def work(where: str, text: Corpus, pruner: str, trials: int, started: Callable[[], None] = lambda: None) -> Cost:
    """Run one worker of one slot, until its study is finished. started: told when the counting begins."""
    question = create(where, definition(text, trials + FIRST, pruner=pruner), text)
    counts, ended = Counts(), 0
    cpu = wall = 0.0

    def on(event: object) -> None:
        nonlocal ended, cpu, wall
        ended += type(event).__name__ == "Finished"
        if ended == FIRST and not counts.counting:
            counts.counting, cpu, wall = True, time.process_time(), time.perf_counter()
            started()

    with training(), counts.watching(question.storage.engine):
        Worker(question, text, 0, 1, on).run()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    finished = question.states()
    question.storage.engine.dispose()
    if sum(finished.values()) != trials + FIRST or finished["waiting"] or finished["running"]:
        raise RuntimeError(f"{dict(finished)}: the figures would mean nothing")
    return Cost(counts, trials, cpu / trials, wall / trials)


def round_trips(server: str, where: str, text: Corpus, pruner: str, trials: int) -> float:
    """Of a trial, from one worker."""
    url = make_url(server)
    default = 5432 if url.get_backend_name() == "postgresql" else 3306
    with Wire(str(url.host or "127.0.0.1"), url.port or default) as wire:

        def started() -> None:
            wire.counting = True

        work(wire.through(where), text, pruner, trials, started)
        return wire.trips / trials


def trial_table(servers: Sequence[str | None], text: Corpus, trials: int) -> str:
    rows = []
    for server in servers:
        for pruner in ("none", "median"):
            with fresh_database(server) as where:
                cost = work(where, text, pruner, trials)
            trips = "-"
            if server is not None:
                with fresh_database(server) as where:
                    trips = f"{round_trips(server, where, text, pruner, trials):.1f}"
            counts = cost.counts
            rows.append(
                [
                    f"{_name(server)}, {pruner}",
                    f"{counts.statements.total() / trials:.1f}",
                    f"{counts.commits.total() / trials:.1f}",
                    trips,
                    f"{1e3 * cost.cpu:.1f}",
                    f"{1e3 * cost.wall:.1f}",
                    *(
                        f"{counts.statements[phase] / trials:.1f}+{counts.commits[phase] / trials:.1f}"
                        for phase in (*PHASES, REST)
                    ),
                ]
            )
    header = ["storage, pruner", "statements", "commits", "round trips", "CPU ms", "ms", *PHASES, REST]
    return table("A trial of ten reports, by one worker (by function: statements + commits)", header, rows)


def claim_table(servers: Sequence[str | None], text: Corpus, sizes: Sequence[int], claims: int) -> str:
    rows = []
    for server in servers:
        for size in sizes:
            with fresh_database(server) as where:
                question = create(where, definition(text, 10), text)
                in_transaction(question.storage, study_tables.add_waiting, _key(question), waiting([], [], size - 10))
                spent = [_claim(question) for _ in range(claims + 1)]
                question.storage.engine.dispose()
            cpu, wall = zip(*spent[1:], strict=True)
            first, then = f"{1e3 * spent[0][1]:.1f}", f"{1e3 * median(wall):.1f}"
            rows.append([_name(server), f"{size:,}", f"{1e3 * median(cpu):.1f}", then, first])
    return table("A claim, by how many trials wait", ["storage", "waiting", "CPU ms", "ms", "the first one, ms"], rows)


def _claim(question: Question) -> tuple[float, float]:
    """Seconds of the processor, and of the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    if claim("q", question.cached, RandomSampler(), None, mark()) is None:
        raise RuntimeError("nothing waits")
    return time.process_time() - cpu, time.perf_counter() - wall


def _key(question: Question) -> int:
    return question.storage.get_study_id_from_name("q")


def _name(server: str | None) -> str:
    return "sqlite" if server is None else make_url(server).get_backend_name()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="append", default=[], help="URL of a database on a server; may be repeated")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="few trials")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(*environment(), "", sep="\n", flush=True)
    servers = [None, *args.server]
    sizes = (100, 300) if args.quick else (100, 1_000, 10_000, 30_000)
    with corpus() as text:
        print(trial_table(servers, text, 5 if args.quick else args.trials), flush=True)
        print(claim_table(servers, text, sizes, 3 if args.quick else 20))


if __name__ == "__main__":
    main()
