"""What a run shows while it works: a picture on a terminal, lines of text elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator

from rich.console import Console, Group
from rich.control import Control
from rich.live import Live

from tunemax.gpt.visible import visible
from tunemax.search.views.live.picture import picture
from tunemax.search.views.live.progress import Progress
from tunemax.search.views.words import line, status, summary
from tunemax.search.views.writers.terminal import side_by_side
from tunemax.search.workers.events import Event, Finished, Note

REFRESH = 4
"""Pictures a second."""
STATUS = 30.0
"""Seconds between two lines that say how far the run is, without a terminal."""
CELL = "JPY_PARENT_PID"
"""Environment variable that Jupyter gives to a kernel, and so to what a cell calls with `!`."""
END = b"\0\n"


def can_draw(console: Console) -> bool:
    """Whether pictures can be drawn anew in place here. A cell of a notebook is a terminal that only ever appends."""
    return sys.stdout.isatty() and console.is_interactive and CELL not in os.environ


@contextlib.contextmanager
def shown(progress: Progress) -> Iterator[Callable[[Event], None]]:
    """Show a run: on a terminal the live picture, else lines. Yields what is to be told of each event.

    The terminal is left as it was, with the notes and a summary below the command.
    """
    console = Console()
    with (
        _live(progress, console)
        if can_draw(console) and "utf" in console.encoding.lower()
        else _lines(progress) as take
    ):
        yield take
    if progress.recent:
        _say(summary(progress))


@contextlib.contextmanager
def _lines(progress: Progress) -> Iterator[Callable[[Event], None]]:
    """A line for each trial that ends, and now and then one that says how far the run is.

    Notes go to standard error.
    """
    said = progress.now()

    def take(event: Event) -> None:
        nonlocal said
        progress.take(event)
        if isinstance(event, Note):
            print(event.text, file=sys.stderr, flush=True)
        elif isinstance(event, Finished):
            _say(f"{line(event)}  [{progress.done}/{progress.total}]")
        if progress.now() - said >= STATUS and progress.done < progress.total:
            said = progress.now()
            _say(status(progress))

    yield take


def _say(parts: str) -> None:
    """Print what stands in parts, two spaces between them; below each other where a line is too narrow."""
    print(side_by_side(*parts.split("  ")), flush=True)


@contextlib.contextmanager
def _live(progress: Progress, console: Console) -> Iterator[Callable[[Event], None]]:
    """A picture that is drawn anew some times a second, by a thread of its own."""
    lock, size = threading.Lock(), console.size

    def draw() -> Group:
        nonlocal size
        if size != console.size:
            # the terminal has wrapped the last picture in its own way; nobody knows how far up it reaches
            size = console.size
            console.control(Control.clear(), Control.home())
        with lock:
            return Group(*picture(progress, size.width, size.height - 1))

    def take(event: Event) -> None:
        with lock:
            progress.take(event)

    try:
        with Live(console=console, get_renderable=draw, refresh_per_second=REFRESH, transient=True), _above(console):
            yield take
    finally:
        for note in progress.notes:
            print(note.text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _above(console: Console) -> Iterator[None]:
    """What other processes write to the terminal as standard error, such as a worker's last words, scrolls above the
    picture.

    They inherit the descriptor, so for this long it is a pipe that is read here.
    """
    if not os.isatty(2):
        yield
        return
    terminal, (reading, writing) = os.dup(2), os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    reader = threading.Thread(target=_copy, args=(reading, console), daemon=True)
    reader.start()
    try:
        yield
    finally:
        os.write(2, END)  # some process may outlive this one with the other end of the pipe, so it need not close
        os.dup2(terminal, 2)
        os.close(terminal)
        reader.join(timeout=1)


def _copy(reading: int, console: Console) -> None:
    """Print whole lines, as many at once as there are, up to the end mark."""
    said, ended = b"", False
    while not ended:
        said += os.read(reading, 65536)
        ended = said.endswith(END)
        lines, _, said = said.removesuffix(END).rpartition(b"\n")
        lines, said = (lines + said, b"") if ended else (lines, said)
        if lines:
            console.print(visible(lines.decode(errors="replace")), markup=False, highlight=False, soft_wrap=True)
    os.close(reading)
