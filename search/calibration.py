"""How to share out a machine's cores: processes, threads of each, and members in each, by a short measurement that is remembered.

One thread a process is the usual answer, and the default. More than one pays where few members are left, or none can be added.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from gpt import hardware
from gpt.config import Config
from gpt.data import data_root
from gpt.errors import TunemaxError
from gpt.files import write_whole

SLOTS = (1, 2, 4, 8, 16)
"""Members of a process that are tried, fewest first."""
SECONDS = 1.0
"""Of each measurement, at least one iteration."""
SLOWEST = 5.0
"""Seconds of an iteration above which no more members are tried."""
TIE = 0.95
"""A layout with fewer members is taken if it is this near to the fastest: it needs less memory, and its sampler learns sooner."""


@dataclass(frozen=True)
class Layout:
    """workers: processes. threads: of each. slots: members that each trains at once."""

    workers: int
    threads: int
    slots: int


@dataclass(frozen=True)
class Measurement:
    """rate: iterations of members a second, of all processes together. seconds: the longest that one iteration took."""

    layout: Layout
    rate: float
    seconds: float


def calibrate(config: Config, report: Callable[[Measurement], None] = lambda measurement: None) -> Layout:
    """Measure the layouts of this machine for trainings like this one, eager, on its CPU, and remember the best.

    report: told each measurement. Takes some ten seconds for a small model. Raises TunemaxError if no process survives it.
    """
    found = []
    route = hardware.route_for(config)
    for workers, threads in _shares(os.cpu_count() or 1):
        with _Crew(config, workers, threads, route) as crew:
            for slots in SLOTS:
                measurement = crew.measure(slots)
                report(measurement)
                found.append(measurement)
                if measurement.seconds > SLOWEST:
                    break
    best = max(found, key=lambda each: each.rate)
    near = [each for each in found if each.rate >= TIE * best.rate]
    chosen = min(near, key=lambda each: (each.layout.threads, each.layout.workers * each.layout.slots)).layout
    _remember(config, chosen)
    return chosen


def remembered(config: Config) -> Layout | None:
    """What was found on this machine for trainings of these shapes; None if nothing was, or it cannot be read."""
    try:
        return Layout(**json.loads(_place().read_text())[_key(config)])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(config: Config, layout: Layout) -> None:
    place = _place()
    try:
        known = json.loads(place.read_text())
    except (OSError, ValueError):
        known = {}
    try:
        write_whole(place, json.dumps({**known, _key(config): asdict(layout)}, indent=1).encode())
    except OSError as error:
        print(f"{place}: cannot be written ({error.strerror}); the calibration is not remembered", file=sys.stderr)


def _place() -> Path:
    return data_root() / ".machines" / f"{hardware.machine()}.layouts.json"


def _key(config: Config) -> str:
    """Of the shapes: what members must share to be stacked."""
    return hashlib.sha256(repr(config.bucket).encode()).hexdigest()[:16]


def _shares(cores: int) -> Iterator[tuple[int, int]]:
    """Processes and threads of each that use all cores, one thread first."""
    workers = cores
    while workers >= 1:
        yield workers, cores // workers
        workers //= 2


class _Crew:
    """Processes that train when they are told to, as workers do."""

    def __init__(self, config: Config, workers: int, threads: int, route: hardware.Route) -> None:
        self._layout = (workers, threads)
        context = multiprocessing.get_context("spawn")
        self._links, self._processes = [], []
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_train, args=(theirs, config, threads, route), daemon=True)
            with hardware.large_pages():
                process.start()
            theirs.close()
            self._links.append(ours)
            self._processes.append(process)

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for link, process in zip(self._links, self._processes, strict=True):
            link.close()
            process.join()

    def measure(self, slots: int) -> Measurement:
        self._all(slots, 1)  # builds what later iterations reuse
        slow = self._all(slots, 1)
        iterations = max(1, round(SECONDS / slow))
        one = self._all(slots, iterations) / iterations
        workers, threads = self._layout
        return Measurement(Layout(workers, threads, slots), workers * slots / one, one)

    def _all(self, slots: int, iterations: int) -> float:
        """Seconds that the slowest of them takes, all working at once."""
        try:
            for link in self._links:
                link.send((slots, iterations))
            return max(float(link.recv()) for link in self._links)
        except (EOFError, OSError):
            workers, _ = self._layout
            raise TunemaxError(f"calibration: one of {workers} processes died at {slots} members; free some memory") from None


def _train(link: Connection, config: Config, threads: int, route: hardware.Route) -> None:
    """The body of a process."""
    import torch

    from gpt.data import open_data
    from gpt.trainer import Trainer

    hardware.keep_memory()
    hardware.take(route)
    torch.set_num_threads(threads)
    trainer = Trainer(config, open_data(config.train.dataset))
    while True:
        try:
            slots, iterations = link.recv()
        except EOFError:
            return
        while len(trainer.members) < slots:
            trainer.add(config)
        start = time.perf_counter()
        trainer.step(iterations)
        link.send(time.perf_counter() - start)
