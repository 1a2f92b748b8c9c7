"""The tables of a question, each built once: a column says what it holds and how it is rounded, writers write it.

A column of `LOSSES` or `ENDED` stands in every leaderboard: on a terminal, in the dashboard's notes, in a report and in
its CSV file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tunemax.search.results.confirmation import Confirmation, Confirmed
from tunemax.search.results.leaderboard import Entry, Leaderboard
from tunemax.search.results.repeats import Repeats, Spread
from tunemax.search.results.replay import Replayed
from tunemax.search.views import rounding
from tunemax.search.views.document import Column, Row, Table, at, tabulated
from tunemax.search.views.words import plain

# ---- what tuning has found -------------------------------------------------------------------------------------------


def _count(name: str) -> Column[Entry]:
    return Column(name, at(name), rounding.count)


CANDIDATE = Column[Entry]("candidate", at("name"), words=True)
LOSSES = (
    Column[Entry]("best", at("best.value"), rounding.loss, "tuned_loss"),
    Column[Entry]("top 5", at("median_of_top"), rounding.loss, "median_of_top_5"),
)
ENDED = tuple(map(_count, ("complete", "pruned", "diverged")))
DUPLICATE, FAILED, RUNNING, WAITING, TOKENS = map(_count, ("duplicate", "failed", "running", "waiting", "tokens"))
FLOPS = Column[Entry]("FLOPs", at("flops"), rounding.many, "flops")
COST = (
    Column[Entry]("parameters", at("best.parameters"), rounding.count),
    Column[Entry]("tokens", at("best.tokens"), rounding.many, "best_tokens"),
    Column[Entry]("FLOPs", at("best.flops"), rounding.many, "best_flops"),
)
STEPS = Column[Entry]("steps", at("member_steps"), rounding.count, "member_steps")
TRIAL = Column[Entry]("trial", at("best.number"), name="best_trial")
SETTINGS = Column[Entry](
    "best settings", at("best.params"), lambda params: plain(params) or "defaults", words=True, none=""
)
RANKED = (
    "Validation loss in nats a token, at the horizon: of the best trial, and the median of the best five. Parameters, "
    "tokens and FLOPs: of the best trial. Steps: of all trials."
)


def failures(board: Leaderboard) -> list[Column[Entry]]:
    """How many trials have failed, where any has."""
    return [FAILED] if any(entry.failed for entry in board.entries) else []


def ranking(board: Leaderboard) -> Table[Entry]:
    """What tuning found, and how its trials ended."""
    return Table((CANDIDATE, *LOSSES, *ENDED, DUPLICATE, *failures(board), STEPS), board.entries)


def best_costs(board: Leaderboard) -> Table[Entry]:
    """What the best trials cost."""
    return Table((CANDIDATE, *COST), [entry for entry in board.entries if entry.best])


def winners(board: Leaderboard) -> Table[Entry]:
    """What tuning found, and with which settings."""
    return Table((CANDIDATE, *LOSSES, *COST, *failures(board), TRIAL, SETTINGS), board.entries)


def budget(board: Leaderboard) -> Table[Entry]:
    """What became of all trials, and what they cost."""
    steps = replace(STEPS, head="member-steps")
    return Table((CANDIDATE, *ENDED, DUPLICATE, FAILED, WAITING, RUNNING, steps, TOKENS, FLOPS), board.entries)


def repeats(again: Repeats) -> Table[Spread]:
    """The best loss of each candidate in each repeat of the tuning."""

    def best_in(place: int) -> Column[Spread]:
        return Column(f"repeat {place + 1}", lambda spread: spread.best[place], rounding.loss)

    over = (Column[Spread](head, at(path), rounding.loss) for head, path in (("mean", "over.mean"), ("SD", "over.sd")))
    candidate = Column[Spread]("candidate", at("candidate"), words=True)
    return Table((candidate, *map(best_in, range(len(again.names))), *over), again.spreads)


# ---- what is confirmed -----------------------------------------------------------------------------------------------


TYPICAL = (
    "Differences are typical ones (the pseudomedian of the pairs, with its exact interval), over all seeds that both "
    "sides have ended: a run that diverged is worse than any other. Means are of the seeds on which neither side "
    "diverged. p of no difference, by the signed-rank test, corrected for all candidates and looks"
)
"""What the columns of a confirmed comparison are."""
ALONE = "Means are of the seeds on which it did not diverge"
"""The same, where there is nothing to compare with."""


def explained(confirmation: Confirmation) -> str:
    """What the columns of a confirmation are, without a full stop."""
    return ALONE if confirmation.alone else TYPICAL


def compared(head: str, versus: str, is_reference: Callable[[Row], bool], rounded: Callable[[Any], str]) -> Column[Row]:
    """The difference to the reference, which is called so in its own row. versus: where a row has its comparison."""

    def value(row: Row) -> str | None:
        comparison = at(versus)(row)
        return rounded(comparison) if comparison else "reference" if is_reference(row) else None

    return Column(head, value)


def p_of(path: str, head: str = "p") -> Column[Any]:
    return Column(head, at(path), rounding.p, none="")


VERDICT = Column[Confirmed]("", at("verdict"), words=True)
SEEDS = Column[Confirmed]("seeds", lambda entry: entry.versus.n if entry.versus else entry.runs)
DIVERGED = Column[Confirmed](
    "diverged", lambda entry: f"{len(entry.diverged)} of {entry.runs}" if entry.diverged else None, none=""
)


def _beside(confirmation: Confirmation) -> list[Column[Confirmed]]:
    """The reference's mean on the seeds of each row, where it is not that of its own row."""
    of_all = confirmation.entry(confirmation.reference)
    others = [entry.beside for entry in confirmation.entries if entry.beside]
    if of_all is None or all(beside == of_all.estimate for beside in others):
        return []
    return [Column(f"{confirmation.reference} on the same", at("beside.mean"), rounding.loss, none="")]


def _diverged(confirmation: Confirmation) -> list[Column[Confirmed]]:
    """How many runs each has lost, if any has."""
    return [DIVERGED] if any(entry.diverged for entry in confirmation.entries) else []


def _comparison(confirmation: Confirmation) -> tuple[Column[Confirmed], ...]:
    """The verdict on each winner, its mean, and its difference to the reference if there is another one, with their
    intervals."""
    reference = confirmation.reference
    candidate = Column[Confirmed]("candidate", at("candidate"), words=True)
    means: tuple[Column[Confirmed], ...] = (
        Column("mean loss", at("estimate.mean"), rounding.loss),
        Column("95 % interval", at("estimate"), rounding.interval),
    )
    if confirmation.alone:
        return (candidate, *means)
    return (
        candidate,
        replace(VERDICT, head="verdict"),
        *means,
        *_beside(confirmation),
        compared(f"to {reference}", "versus", lambda entry: entry.candidate == reference, rounding.difference_alone),
        Column("95 % interval", at("versus"), rounding.difference_interval, none=""),
        p_of("versus.p_corrected"),
    )


def confirmed_with_seeds(confirmation: Confirmation) -> Table[Confirmed]:
    """How the winners compare, and what that rests on."""
    return Table((*_comparison(confirmation), SEEDS, *_diverged(confirmation)), confirmation.entries)


def judged(confirmation: Confirmation) -> Table[Confirmed]:
    """Two sides of which the verdict is said elsewhere: what it rests on."""
    columns = tuple(column for column in _comparison(confirmation) if column.head != "verdict")
    return Table((*columns, SEEDS, *_diverged(confirmation)), confirmation.entries)


def confirmed_with_effects(confirmation: Confirmation) -> Table[Confirmed]:
    """How the winners compare, and how large that is beside the scatter of the seeds."""
    effects = (
        Column[Confirmed]("P(better)", at("versus.superiority"), "{:.2f}".format, none=""),
        Column[Confirmed]("in seed SD", at("versus.effect"), rounding.effect, none=""),
    )
    told = (*_comparison(confirmation), *(() if confirmation.alone else effects), *_diverged(confirmation))
    return Table(told, confirmation.entries)


def confirmed_beside_tuned(board: Leaderboard, confirmation: Confirmation) -> Table[Any]:
    """Tuned and confirmed loss of each candidate, and the difference to the reference; the confirmed ones first."""
    reference = confirmation.reference
    beside: tuple[Column[Confirmed], ...] = (
        *_beside(confirmation),
        compared(f"to {reference}, 95 %", "versus", lambda entry: entry.candidate == reference, rounding.difference),
        p_of("versus.p_corrected"),
        VERDICT,
    )
    mean = Column[Confirmed]("confirmed", at("estimate"), rounding.loss_with_half)
    columns = (mean, *(() if confirmation.alone else beside), *_diverged(confirmation))
    ranked = {entry.candidate: place for place, entry in enumerate(confirmation.entries)}
    rows = []
    for entry in sorted(board.entries, key=lambda entry: ranked.get(entry.name, len(ranked))):
        winner = confirmation.entry(entry.name)
        cells = [column.text(winner) if winner else "" if column.words else rounding.NONE for column in columns]
        rows.append((entry.name, LOSSES[0].text(entry), *cells))
    return tabulated(("candidate", "tuned", *(column.head for column in columns)), rows)


# ---- what another pruner would have done -----------------------------------------------------------------------------


def replayed(studies: Sequence[Replayed]) -> Table[Replayed]:
    """What another pruner would have saved and lost."""
    columns = (
        Column[Replayed]("study", at("study"), words=True),
        Column[Replayed]("full curves", at("full")),
        Column[Replayed]("stopped", at("stopped")),
        Column[Replayed]("spent", at("spent"), rounding.count),
        Column[Replayed]("needed", at("needed"), rounding.count),
        Column[Replayed]("saved", at("saved"), rounding.share),
        Column[Replayed]("winner", lambda study: "kept" if study.kept else "lost"),
        Column[Replayed]("regret", at("regret"), rounding.loss),
    )
    return Table(columns, studies)


# ---- for other programs ----------------------------------------------------------------------------------------------


def figures(board: Leaderboard, confirmations: Sequence[Confirmation]) -> Table[Entry]:
    """All there is of each candidate, in full precision."""
    ended = (*ENDED, *failures(board))
    columns = [CANDIDATE, Column[Entry]("study", at("study")), TRIAL, *LOSSES, *COST, *ended, STEPS, TOKENS, FLOPS]
    paths = {name: f"estimate.{name}" for name in ("mean", "low", "high")} | {"reference_mean": "beside.mean"}
    paths |= {"typical": "versus.typical.value"}
    paths |= {f"typical_{end}": f"versus.typical.{end}" for end in ("low", "high")}
    paths |= {"difference": "versus.difference.mean"}
    paths |= {f"difference_{end}": f"versus.difference.{end}" for end in ("low", "high")}
    paths |= {name: f"versus.{name}" for name in ("p", "p_corrected")}
    paths |= {"p_equal": "versus.settled.p_equal", "verdict": "versus.verdict"}
    diverged = Column[Confirmed]("diverged", lambda entry: len(entry.diverged))
    confirmed = (SEEDS, diverged, *(Column[Confirmed](name, at(path)) for name, path in paths.items()))
    for each in confirmations:
        columns += [_confirmed(each, column) for column in confirmed]
    return Table(columns, board.entries)


def _confirmed(confirmation: Confirmation, column: Column[Confirmed]) -> Column[Entry]:
    def value(entry: Entry) -> Any:
        winner = confirmation.entry(entry.name)
        return winner and column.value(winner)

    return Column(f"confirmed_{confirmation.factor}x_{column.head}", value)
