"""What a training of an agent shows while it works: a bar on a terminal, a line a look elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tunemax.gpt.visible import visible
from tunemax.search.results.durations import about
from tunemax.search.views.live.view import can_draw


class Pace:
    """How far something has come, in words, and how long it will still take.

    total: member-steps of all. What was kept from before counts as done, but says nothing about the pace.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done, self._now, self._begun = total, 0, 0, time.monotonic()

    def add(self, steps: int, before: bool = False) -> None:
        self.done += steps
        self._now += 0 if before else steps

    def __str__(self) -> str:
        left = (self.total - self.done) * (time.monotonic() - self._begun) / self._now if self._now else None
        words = f"{self.done:,}/{self.total:,} member-steps"
        return words if left is None or left <= 0 else f"{words}, {about(left)} left"


@contextlib.contextmanager
def bar(what: str, total: int, unit: str) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """A bar towards `total`, begun at whatever is told first. Yields how to move it, and how to say a line above it.

    Without a terminal only the lines are seen.
    """
    console = Console()
    if not can_draw(console):
        yield lambda done: None, lambda line: print(line, flush=True)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)

        def say(line: str) -> None:
            progress.console.print(visible(line), markup=False, highlight=False)

        yield lambda done: progress.update(task, completed=done), say
