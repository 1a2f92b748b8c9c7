"""What would settle what is open: to confirm what is tuned, or more seeds, with what they take, by which command."""

from __future__ import annotations

from collections.abc import Sequence

from tunemax.search.question.stages import MOST_SEEDS, comparisons
from tunemax.search.results.comparison import Comparison
from tunemax.search.results.confirmation import Confirmation
from tunemax.search.results.durations import about
from tunemax.search.results.leaderboard import Leaderboard
from tunemax.search.results.seeds import runs_per_second, too_few
from tunemax.search.storage.commands import typed
from tunemax.search.storage.questions import Question


def confirming(question: Question, board: Leaderboard, confirmed: Sequence[Confirmation]) -> tuple[str, str] | None:
    """What to do with winners once all of them are tuned and none is confirmed: a sentence, and the command at its
    end."""
    if confirmed or board.left or not any(entry.best for entry in board.entries):
        return None
    begin = "Confirm it with" if len(board.entries) < 2 else "Confirm the winners with"
    return begin, typed(question.storage.url, "study", "confirm", question.name)


def remedies(found: Confirmation) -> tuple[str, ...]:
    """What would have to be done to tell apart what is undecided, and what these seeds could never show."""
    compared = [entry.versus for entry in found.entries if entry.versus]
    undecided = [versus for versus in compared if versus.typically == "undecided"]
    late = [f"{found.reference} was chosen as the reference later, so p counts all pairs of candidates."]
    going_on = found.budget is not None and found.left  # more runs are granted already
    told = () if going_on else (_remedy(found, versus) for versus in undecided)
    return (*late * (found.rechosen and bool(compared)), *_too_few(found, undecided), *told)


def asked(found: Confirmation, seeds: int) -> list[str]:
    """The words of the command that gives these candidates so many seeds at this horizon; only those that are open,
    where the runs are counted."""
    if found.budget is None:
        return command(found, "--seeds", str(seeds))
    return command(found, "--runs", str(sum(len(entry.trials) for entry in found.entries) + runs_for(found, seeds)))


def command(found: Confirmation, *amount: str) -> list[str]:
    """The words of the command that confirms these candidates at this horizon. amount: on how much, as options."""
    longer = ["--longer", str(found.factor)] if found.factor > 1 else []
    top = ["--top", str(max(1, len(found.entries) - 1))] if found.partial else []
    return ["study", "confirm", found.question, *top, *amount, *longer]


def seconds_for(found: Confirmation, seeds: int) -> float | None:
    """How long so many seeds take beyond runs that have ended, at the speed of those; None before one has."""
    speed = runs_per_second([trial for entry in found.entries for trial in entry.trials])
    return (runs_for(found, seeds) + found.left) / speed if speed else None


def runs_for(found: Confirmation, seeds: int) -> int:
    """Runs to come with so many seeds: of every candidate, or of those that are open and the reference where the runs
    are counted."""
    if found.budget is None:
        return (seeds - found.seeds) * len(found.entries)
    going_on = {found.reference, *(entry.candidate for entry in found.open if entry.versus)}
    return sum(max(0, seeds - len(entry.trials)) for entry in found.entries if entry.candidate in going_on)


def _too_few(found: Confirmation, undecided: list[Comparison]) -> list[str]:
    told = too_few(found.seeds, found.planned, comparisons(len(found.entries), found.rechosen)) if undecided else None
    return [told] if told else []


def _remedy(found: Confirmation, versus: Comparison) -> str:
    both, range_ = f"{versus.name} and {found.reference}", versus.needed
    if all(side.diverged.count == versus.n for side in (versus.reliability.own, versus.reliability.other)):
        return f"All runs of {both} diverged; more seeds would hardly tell them apart."
    if range_ is None or range_.low is None or range_.low > MOST_SEEDS:
        return f"A difference as small as that of {both} would need more than {MOST_SEEDS:,} seeds."
    there = found.seeds if found.budget is None else versus.n
    first = max(range_.low, there + (not found.left))
    many = range_.high is None or range_.high > MOST_SEEDS
    last = MOST_SEEDS if range_.high is None or many else max(range_.high, first)
    seeds = f"{first} to {'more than ' * many}{last:,}" if last > first or many else f"up to {first}"
    times = [about(seconds) for count in dict.fromkeys((first, last)) if (seconds := seconds_for(found, count))]
    costs = f" ({' to '.join(times)}{' and more' * many})" if times else ""
    more = typed(found.storage, *asked(found, first))
    return f"To tell {both} apart would probably take {seeds} seeds{costs}; begin with {more}"
