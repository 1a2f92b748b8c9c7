"""How fast a run goes and how long it still takes, in member-steps."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field

WINDOW = 60.0
"""Seconds that the rate looks back."""
SILENCE = 15.0
"""Seconds without news that are taken for a pause between two of them; what is beyond counts as standing still."""


@dataclass
class Pace:
    """The rate of the last minute, and the lengths of the trials that have ended."""

    lengths: Counter[int] = field(default_factory=Counter)
    """Iterations of a trial that has ended → how many such trials; 0 for one that was not trained at all."""
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def mark(self, when: float, steps: int) -> None:
        """So many member-steps have been trained by now. when: seconds, from any beginning."""
        marks = self._marks
        if len(marks) > 1 and when - marks[-2][0] < 1:  # news comes in bursts; one mark a second is enough
            marks.pop()
        marks.append((when, steps))
        while len(marks) > 2 and when - marks[1][0] >= WINDOW:
            marks.popleft()

    def rate(self, when: float) -> float:
        """Member-steps a second; 0 before there has been a second of them."""
        if not self._marks:
            return 0.0
        (since, before), (last, steps) = self._marks[0], self._marks[-1]
        seconds = max(last, when - SILENCE) - since
        return (steps - before) / seconds if seconds >= 1 else 0.0

    def left(self, running: Collection[tuple[int, int]], waiting: int) -> tuple[float, float]:
        """Member-steps that are expected: in all, and of the longest of the running trials.

        running: (iteration, horizon) of each. Trials are expected to be as long as those before them; one that runs
        counts among these as if it went to its horizon, since those that end first are the short ones.
        """
        lengths = self.lengths + Counter(horizon for _, horizon in running)
        each = [_mean_beyond(lengths, iteration, horizon) - iteration for iteration, horizon in running]
        mean = sum(length * count for length, count in lengths.items()) / max(lengths.total(), 1)
        return sum(each) + waiting * mean, max(each, default=0.0)

    def eta(
        self, when: float, running: Collection[tuple[int, int]], waiting: int, closes: float | None = None
    ) -> float | None:
        """Seconds until all is trained; None while there is no telling.

        closes: when no further trial starts. The last trial is never faster than its share of the rate.
        """
        rate = self.rate(when)
        if not rate or (waiting and not running and not self.lengths.total()):
            return None
        steps, longest = self.left(running, waiting)
        tail = longest * len(running) / rate
        seconds = max(steps / rate, tail)
        return seconds if closes is None else min(seconds, max(closes - when, 0.0) + tail)


def _mean_beyond(lengths: Counter[int], iteration: int, horizon: int) -> float:
    """The mean length of the trials that were longer than this."""
    longer = {length: count for length, count in lengths.items() if length > iteration}
    if not longer:
        return max(horizon, iteration)
    return sum(length * count for length, count in longer.items()) / sum(longer.values())
