"""How to share out a machine's cores: processes, their threads and members, by a measurement that is remembered.

One thread a process is the usual answer, and the default. More pay where few members are left, or none can be added.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tunemax.gpt import hardware, matmul
from tunemax.gpt.config import Config
from tunemax.gpt.data import data_root
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import write_whole
from tunemax.gpt.paths import inside
from tunemax.gpt.trust import fault, make_private, own_folder
from tunemax.search.machine.limits import cores
from tunemax.search.machine.processes import FORKING, begin, set_up, warm

SLOTS = (1, 2, 4, 8, 16)
"""Members of a process that are tried, fewest first."""
SECONDS = 1.0
"""Of each measurement, at least one iteration."""
SLOWEST = 5.0
"""Seconds of an iteration above which no more members are tried."""
TIE = 0.95
"""A layout with fewer members is taken if it is this near to the fastest: it needs less memory, and learns sooner."""
SIZES = ("n_layer", "n_head", "n_embd", "block_size", "batch_size", "precision")
"""Fields that a layout depends on; biases, norms and the like are a small part of an iteration."""


@dataclass(frozen=True)
class Shares:
    """workers: processes. threads: of each. slots: members that each trains at once."""

    workers: int
    threads: int
    slots: int


@dataclass(frozen=True)
class Measurement:
    """rate: iterations of members a second, of all processes together. seconds: the longest that one iteration took.

    Where a process has died of it, the rate is 0 and the seconds are infinite.
    """

    shares: Shares
    rate: float
    seconds: float


def calibrate(config: Config, report: Callable[[Measurement], None] = lambda measurement: None) -> Shares:
    """Measure the layouts of this machine for trainings like this one, eager, on its CPU, and remember the best.

    report: told each measurement. Takes some ten seconds for a small model. A layout that a process dies of, for want
    of memory most often, is none; the others still count. Raises TunemaxError if there are no others, or no data.
    """
    warm()
    measurements = []
    route = matmul.route_for(config)
    for workers, threads in _shares(cores()):
        with _Team(config, workers, threads, route) as team:
            for slots in SLOTS:
                measurement = team.measure(slots)
                report(measurement)
                measurements.append(measurement)
                if measurement.seconds > SLOWEST:
                    break
    best = max(measurement.rate for measurement in measurements)
    if not best:
        raise TunemaxError("calibration: a process dies of so few members already; free some memory")
    near = [measurement.shares for measurement in measurements if measurement.rate >= TIE * best]
    chosen = min(near, key=lambda shares: (shares.threads, shares.workers * shares.slots))
    _remember(config, chosen)
    return chosen


def remembered(config: Config) -> Shares | None:
    """What was found on this machine for trainings of these shapes; None if nothing was, or it cannot be read."""
    try:
        return Shares(**_known(_place())[_key(config)])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(config: Config, shares: Shares) -> None:
    place = _place()
    try:
        known = _known(place)
    except (OSError, ValueError, TypeError, RecursionError):
        known = {}
    try:
        make_private(place.parent)
        write_whole(place, json.dumps({**known, _key(config): asdict(shares)}, indent=1).encode())
    except OSError as error:
        print(f"{place}: cannot be written ({error.strerror}); the calibration is not remembered", file=sys.stderr)


def _known(place: Path) -> dict[str, Any]:
    """What is remembered, by `_key`; nothing of what others could have written."""
    return {} if fault(place) else dict(json.loads(place.read_text()))


def _place() -> Path:
    return inside(own_folder(data_root() / ".machines"), f"{hardware.machine()}-{cores()}.layouts.json")


def _key(config: Config) -> str:
    values = config.flat()
    return hashlib.sha256(repr([values[name] for name in SIZES]).encode()).hexdigest()[:16]


def _shares(total: int) -> Iterator[tuple[int, int]]:
    """Processes and threads of each that use all cores, one thread first."""
    workers = total
    while workers >= 1:
        yield workers, total // workers
        workers //= 2


class _Team:
    """Processes that train when they are told to, as workers do."""

    def __init__(self, config: Config, workers: int, threads: int, route: matmul.Route) -> None:
        self._of_each = (workers, threads)
        self._links, self._processes = [], []
        for _ in range(workers):
            ours, theirs = FORKING.Pipe()
            self._processes.append(begin(_train, theirs, config, threads, route))
            self._links.append(ours)
            theirs.close()

    def __enter__(self) -> _Team:
        return self

    def __exit__(self, *_: object) -> None:
        for link, process in zip(self._links, self._processes, strict=True):
            link.close()
            process.kill()  # nothing of it is kept
            process.join()

    def measure(self, slots: int) -> Measurement:
        """Raises TunemaxError if a process cannot begin."""
        self._all(slots, 1)  # builds what later iterations reuse
        iterations = max(1, round(SECONDS / self._all(slots, 1)))
        one = self._all(slots, iterations) / iterations
        workers, threads = self._of_each
        return Measurement(Shares(workers, threads, slots), workers * slots / one, one)

    def _all(self, slots: int, iterations: int) -> float:
        """Seconds that the slowest of them takes, all working at once; infinitely many once one is dead."""
        for link in self._links:
            with contextlib.suppress(OSError):  # it has ended; its last answer is still to be read
                link.send((slots, iterations))
        return max(_seconds(link) for link in self._links)


def _seconds(link: Connection) -> float:
    try:
        answer: float | TunemaxError = link.recv()
    except (EOFError, OSError):
        return math.inf
    if isinstance(answer, TunemaxError):
        raise answer
    return answer


def _train(link: Connection, config: Config, threads: int, route: matmul.Route) -> None:
    """The body of a process."""
    from tunemax.gpt.data import open_data
    from tunemax.gpt.trainer import Trainer

    set_up(route, threads)
    try:
        trainer = Trainer(config, open_data(config.train))
        while True:
            slots, iterations = link.recv()
            while len(trainer.members) < slots:
                trainer.add(config)
            start = time.perf_counter()
            trainer.step(iterations)
            link.send(time.perf_counter() - start)
    except TunemaxError as error:  # the user's to mend
        link.send(error)
    except (EOFError, OSError, MemoryError, RuntimeError):
        # nobody asks any more; or as torch says that memory is short
        link.close()
