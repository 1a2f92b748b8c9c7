"""Where a run stands, in words: lines for a log, numbers and curves in few characters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tunemax.search.question.counting import counted
from tunemax.search.results.durations import about
from tunemax.search.views.live.progress import Progress
from tunemax.search.workers.events import Finished

LEVELS = "▁▂▃▄▅▆▇"
"""Without the full block, so that curves in neighbouring lines do not touch."""


def line(event: Finished) -> str:
    """A trial that has left its slot."""
    value = "" if event.value is None else f"  loss {event.value:.4f}"
    reason = f"  ({event.reason})" if event.reason else ""
    return f"{event.study} trial {event.trial}: {event.state} at iteration {event.iteration}{value}{reason}"


def status(progress: Progress) -> str:
    """How far a run is and how long it still takes."""
    parts = [f"{progress.done}/{counted(progress.total, 'trial')}", f"{progress.running} running"]
    parts.append(f"{clock(progress.elapsed)} elapsed")
    if progress.eta is not None:
        parts.append(f"{about(progress.eta)} left")
    if progress.rate:
        parts.append(f"{progress.rate:,.0f} member-steps/s")
    return "  ".join(parts)


def summary(progress: Progress) -> str:
    """What a run has come to: the trials of the whole question, the time and the mean speed of this run."""
    counts = ", ".join(f"{count} {end}" for end, count in progress.counts().items() if count)
    trials = f"{progress.done}/{counted(progress.total, 'trial')}" + (f": {counts}" if counts else "")
    parts = [trials, f"{clock(progress.elapsed)} elapsed"]
    if progress.steps:
        parts.append(f"{progress.steps / max(progress.elapsed, 1e-9):,.0f} member-steps/s")
    return "  ".join(parts)


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def sparkline(values: Sequence[float], width: int) -> str:
    """A curve in at most `width` characters, from the lowest value ▁ to the highest ▇; the last of several that share a
    place.

    What is not a finite number stands above all others; a curve that does not move is in the middle.
    """
    count = len(values)
    if count > width:
        values = [values[(place + 1) * count // width - 1] for place in range(width)]
    finite = [value for value in values if math.isfinite(value)]
    low = min(finite, default=0.0)
    span = max(finite, default=0.0) - low

    def level(value: float) -> str:
        if not math.isfinite(value):
            return LEVELS[-1]
        return LEVELS[round((value - low) / span * (len(LEVELS) - 1))] if 0 < span < math.inf else LEVELS[3]

    return "".join(map(level, values))


def number(value: int) -> str:
    """A count of iterations in at most six characters: ``2000``, ``125k``, ``1.25M``."""
    if value < 100_000:
        return str(value)
    return f"{value // 1000}k" if value < 1_000_000 else f"{value / 1e6:.2f}M"


def plain(values: Mapping[str, object]) -> str:
    """Settings in one line: ``learning_rate 0.0031, constantmax.gamma 87``."""
    return ", ".join(settings(values, 3))


def settings(values: Mapping[str, object], digits: int) -> list[str]:
    return [
        f"{name} {value:.{digits}g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    ]
