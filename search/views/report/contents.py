"""What a report says: read once from the storage, then put into sections."""

from __future__ import annotations

import csv
import io
import math
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.exceptions import ExperimentalWarning

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.fields import Choices
from tunemax.search.charts import pictures
from tunemax.search.charts.document import Section, Table
from tunemax.search.charts.picture import Picture
from tunemax.search.question.schema import study_file
from tunemax.search.results.confirmation import Confirmation, Confirmed, changed, confirmations
from tunemax.search.results.leaderboard import Candidate, Entry, Leaderboard, candidates, rank
from tunemax.search.results.pruning import Fidelity, fidelity
from tunemax.search.results.repeats import Repeats, repeats
from tunemax.search.results.statistics import estimate
from tunemax.search.results.winners import command, shell
from tunemax.search.storage.attributes import LEARNED, RATE, state
from tunemax.search.storage.questions import Question
from tunemax.search.views.report.stability import sensitivity, stability
from tunemax.search.views.words import plain

ENOUGH = 10
"""Complete trials before anything is said of importance."""


@dataclass(frozen=True)
class Reading:
    """Everything that a report is made from."""

    question: Question
    found: Sequence[Candidate]
    board: Leaderboard
    confirmed: Sequence[Confirmation]
    again: Repeats | None
    pruning: Fidelity

    @property
    def title(self) -> str:
        return self.question.definition.question

    @property
    def empty(self) -> bool:
        return not any(entry.best for entry in self.board.entries)


def read(question: Question) -> Reading:
    """Read the storage. The report of a confirmation is that of the question that it confirms."""
    found = candidates(question)
    pruning = fidelity(question.definition, found)
    return Reading(question, found, rank(question, found), confirmations(question), repeats(question), pruning)


def sections(reading: Reading) -> list[Section]:
    """The whole report, top to bottom. Sections that have nothing to say are left out."""
    parts = [_answer(reading), *(_confirmed(reading, each) for each in reading.confirmed)]
    if not reading.empty:
        parts += [
            _tuned(reading),
            _repeats(reading),
            _curves(reading),
            _learnables(reading),
            _importance(reading),
            _slices(reading),
        ]
        parts += [
            sensitivity(reading.question.definition, reading.found),
            stability(reading.found, reading.confirmed),
            _pruning(reading),
        ]
    parts += [_budget(reading), _configuration(reading), _commands(reading)]
    return [part for part in parts if part.sentences or part.tables or part.figures or part.code or part.lead]


def table_csv(reading: Reading) -> str:
    """One line a candidate, every figure in full precision."""
    file = io.StringIO()
    heads = [
        "candidate",
        "study",
        "best_trial",
        "tuned_loss",
        "median_of_top_5",
        "complete",
        "pruned",
        "diverged",
        "member_steps",
    ]
    of_each = [
        "seeds",
        "diverged",
        "mean",
        "low",
        "high",
        "difference",
        "difference_low",
        "difference_high",
        "p",
        "p_holm",
        "verdict",
    ]
    heads += [f"confirmed_{each.factor}x_{head}" for each in reading.confirmed for head in of_each]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(heads)
    for entry in reading.board.entries:
        own: list[Any] = [
            entry.name,
            entry.study,
            entry.best and entry.best.number,
            entry.best and entry.best.value,
            entry.median_of_top,
        ]
        own += [entry.complete, entry.pruned, entry.diverged, entry.member_steps]
        for each in reading.confirmed:
            own += _confirmed_figures(each.entry(entry.name), len(of_each))
        writer.writerow(["" if value is None else _safe(value) for value in own])
    return file.getvalue()


def _safe(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is quoted."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _confirmed_figures(entry: Confirmed | None, count: int) -> list[Any]:
    if entry is None:
        return [None] * count
    mean, versus = entry.estimate, entry.versus
    own: list[Any] = [
        len(entry.losses),
        len(entry.diverged),
        *((mean.mean, mean.low, mean.high) if mean else [None] * 3),
    ]
    if versus is None:
        return [*own, *[None] * (count - len(own))]
    between = versus.difference
    return [*own, between.mean, between.low, between.high, versus.p, versus.p_holm, versus.verdict]


# ---- sections --------------------------------------------------------------------------------------------------------


def _answer(reading: Reading) -> Section:
    board = reading.board
    tuned = board.verdict[0].upper() + board.verdict[1:]
    if reading.confirmed:
        lead, more = reading.confirmed[0].verdict, [each.verdict for each in reading.confirmed[1:]]
    elif reading.empty:
        running = sum(entry.running for entry in board.entries)
        lead = f"No trial is complete yet: {board.left} are still to come, {running} of them are being trained."
        more = []
    else:
        lead, more = (
            tuned,
            [f"A best trial is partly the luckiest. To claim a difference: tunemax study confirm {board.name}"],
        )
    again = [name for each in reading.confirmed for name in changed(board, each)]
    if again:
        more.append(
            f"Tuning has found a better trial since of {', '.join(dict.fromkeys(again))}; what is confirmed is the one "
            "before."
        )
    return Section("Answer", lead, tuple(more))


def _confirmed(reading: Reading, found: Confirmation) -> Section:
    columns = (
        "candidate",
        "mean loss",
        "95 % interval",
        f"to {found.reference}",
        "95 % interval ",
        "p (Holm)",
        "verdict",
        "P(better)",
        "in seed SD",
    )
    compared = tuple(_comparison(entry, found.reference) for entry in found.entries)
    left = f" {found.left} runs are still to come." if found.left else ""
    explained = (
        f"The winner of each candidate, frozen, was trained anew on {found.seeds} fresh seeds for {found.horizon:,} "
        "iterations, and evaluated on validation text that no tuning has seen. All candidates have the same seeds: "
        "the same initial values where the models agree, the same order of the data. Differences are those of pairs; "
        f"p by random signs, corrected for all comparisons (Holm).{left}"
    )
    rows = (pictures.intervals(reading.title, found, reading.found), pictures.differences(found, reading.found))
    curves = pictures.confirmed_curves(found, reading.found)
    figures: list[Picture] = [*(picture for picture in rows if picture.rows), *([curves] if curves.curves else [])]
    # That one stands in the answer
    several = tuple(sentence for sentence in found.sentences if sentence != found.verdict)
    table = Table(columns, compared, frozenset({"verdict"}))
    sentences = (explained, *several, *found.remedies)
    return Section(f"Confirmed at {found.horizon:,} iterations", "", sentences, tuple(figures), (table,))


def _comparison(entry: Confirmed, reference: str) -> tuple[str, ...]:
    mean, versus = entry.estimate, entry.versus
    own = (
        (entry.candidate, f"{mean.mean:.4f}", f"{mean.low:.4f} … {mean.high:.4f}")
        if mean
        else (entry.candidate, "–", "–")
    )
    if versus is None:
        return (*own, "reference" if entry.candidate == reference else "–", "", "", entry.verdict, "", "")
    middle, low, high = (100 * part for part in versus.relative)
    difference = (f"{middle:+.2f} %", f"{low:+.2f} … {high:+.2f} %", f"{versus.p_holm:.2g}", entry.verdict)
    return (*own, *difference, f"{versus.superiority:.2f}", f"{versus.effect:+.2f}")


def _tuned(reading: Reading) -> Section:
    columns = ("candidate", "best", "top 5", "trial", "best settings")
    rows = tuple(_best(entry) for entry in reading.board.entries)
    ranking = pictures.ranking(reading.board, reading.found)
    explained = (
        "Validation loss at the horizon, on tuning text and tuning seed: of the best trial, and the median of the best "
        "five."
    )
    table = Table(columns, rows, frozenset({"best settings"}))
    return Section("Tuned", "", (explained,), (ranking,) if ranking.rows else (), (table,))


def _best(entry: Entry) -> tuple[str, ...]:
    if entry.best is None:
        return (entry.name, "–", "–", "–", "")
    top = "–" if entry.median_of_top is None else f"{entry.median_of_top:.4f}"
    return (entry.name, f"{entry.best.value:.4f}", top, str(entry.best.number), plain(entry.best.params) or "defaults")


def _curves(reading: Reading) -> Section:
    curves = pictures.learning_curves(reading.title, reading.found)
    return Section("Learning curves", figures=(curves,) if curves.shown else ())


def _learnables(reading: Reading) -> Section:
    """Where the scalars that SGD moves went: in the best trial, and where they ended over the seeds."""
    rows = [row for each in reading.confirmed for entry in each.entries for row in _ends(each, entry)]
    tables = (
        (Table(("candidate", "iterations", "learnable", "start", "end, mean of seeds", "95 % interval"), tuple(rows)),)
        if rows
        else ()
    )
    figures = tuple(picture for candidate in reading.found for picture in pictures.learnables(candidate))
    sentences = ("Means over layers and heads at the end of each confirmed run.",) if rows else ()
    return Section("Learnables", "", sentences, figures, tables)


def _ends(found: Confirmation, entry: Confirmed) -> list[tuple[str, ...]]:
    runs = [trial.user_attrs for trial in entry.trials if state(trial) == "complete"]
    names = sorted({name for run in runs for name in run if name.startswith(LEARNED) and name != RATE})
    rows: list[tuple[str, ...]] = []
    for name in names:
        field = name.removeprefix(LEARNED)
        start = entry.config.get(f"{entry.config.get('softmax_variant')}.{field}")
        mean = estimate([run[name] for run in runs if name in run])
        if mean is not None:
            began = f"{start:.4g}" if isinstance(start, float) else str(start)
            rows.append(
                (
                    entry.candidate,
                    f"{found.horizon:,}",
                    field,
                    began,
                    f"{mean.mean:.4g}",
                    f"{mean.low:.4g} … {mean.high:.4g}",
                )
            )
    return rows


def _importance(reading: Reading) -> Section:
    """Which parameters matter, by PED-ANOVA."""
    figures: list[Picture] = []
    left_out = []
    for hue, candidate in enumerate(reading.found):
        shares = _shares(reading.question, candidate)
        if isinstance(shares, str):
            left_out.append(f"{candidate.name}: {shares}.")
        else:
            figures.append(pictures.importance(candidate, hue, shares))
    explained = (
        "PED-ANOVA: how much knowing a parameter says of whether a trial is among the best tenth. It needs many trials "
        "to be exact."
    )
    return Section("Parameter importance", "", (explained, *left_out), tuple(figures))


def _shares(question: Question, candidate: Candidate) -> Mapping[str, float] | str:
    """Parameter → importance; or why it cannot be given."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    complete = [trial for trial in candidate.trials if state(trial) == "complete"]
    if len(complete) < ENOUGH:
        return f"{len(complete)} complete trials, at least {ENOUGH} are needed"
    if question.variant_is_dimension:
        return "variants share a study, whose importance mixes all of them"
    if len({trial.value for trial in complete}) == 1:
        return "all trials have the same loss"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            shares = get_param_importances(question.study(candidate.study), evaluator=PedAnovaImportanceEvaluator())
        except (ValueError, RuntimeError) as error:
            return str(error).splitlines()[0].rstrip(".")
    known = {name: value for name, value in shares.items() if math.isfinite(value)}
    return known if any(known.values()) else "no parameter stands out"


def _slices(reading: Reading) -> Section:
    figures = tuple(
        picture for hue, candidate in enumerate(reading.found) for picture in pictures.slices(candidate, hue)
    )
    return Section(
        "Slices", "", ("Loss of every trial over each of its numeric parameters.",) if figures else (), figures
    )


def _repeats(reading: Reading) -> Section:
    """What repeats of the whole tuning have found."""
    again = reading.again
    if again is None:
        return Section("Repeats")
    columns = ("candidate", *(f"repeat {index}" for index in range(1, len(again.names) + 1)), "mean", "SD")
    rows = []
    for spread in again.spreads:
        losses = ("–" if loss is None else f"{loss:.4f}" for loss in spread.best)
        rows.append(
            (
                spread.candidate,
                *losses,
                *((f"{spread.over.mean:.4f}", f"{spread.over.sd:.4f}") if spread.over else ("–", "–")),
            )
        )
    explained = "The best tuned loss in each repeat of the tuning: the same search with another seed."
    return Section("Repeats", "", (explained, *again.sentences), (), (Table(columns, tuple(rows)),))


def _pruning(reading: Reading) -> Section:
    """How well the loss where trials were stopped foretells that at the horizon."""
    columns = ("candidate", "iteration", "stopped", "trials", "spared", "rank correlation", "95 % interval")
    rows = []
    for rung in reading.pruning.rungs:
        found = rung.correlation
        value = f"{found.value:.2f}" if math.isfinite(found.value) else "–"
        interval = f"{found.low:.2f} … {found.high:.2f}" if math.isfinite(found.low) else "–"
        rows.append(
            (rung.candidate, f"{rung.iteration:,}", str(rung.stopped), str(found.n), str(rung.spared), value, interval)
        )
    explained = (
        "Spearman's correlation between the loss at an iteration at which trials may be stopped, and the loss at the "
        "horizon, over the trials that have both. Spared: trials that the pruner would have stopped and that were "
        f"let through on purpose, a share of {100 * reading.question.definition.pruner.spared:g} %; each stands for "
        "all of them. Without any, the correlation is that of the trials that went on, and too low. Interval by the "
        "bootstrap over trials; all: ranks within each candidate."
    )
    if not rows:
        return Section("Pruning")
    return Section("Pruning", "", (explained, *reading.pruning.warnings), (), (Table(columns, tuple(rows)),))


def _budget(reading: Reading) -> Section:
    columns = (
        "candidate",
        "complete",
        "pruned",
        "diverged",
        "duplicate",
        "failed",
        "waiting",
        "running",
        "member-steps",
        "tokens",
    )
    rows = []
    for entry in reading.board.entries:
        counts = (
            entry.complete,
            entry.pruned,
            entry.diverged,
            entry.duplicate,
            entry.failed,
            entry.waiting,
            entry.running,
        )
        rows.append((entry.name, *map(str, counts), f"{entry.member_steps:,}", f"{entry.tokens:,}"))
    steps = sum(entry.member_steps for entry in reading.board.entries)
    told = [f"Tuning took {steps:,} member-steps"]
    told += [f"confirming at {each.horizon:,} iterations {each.member_steps:,}" for each in reading.confirmed]
    return Section("Budget", "", (", ".join(told) + ".",), (), (Table(columns, tuple(rows)),))


def _configuration(reading: Reading) -> Section:
    """What was the same in all trials, and what was searched."""
    definition = reading.question.definition
    fixed = next(iter(definition.siblings().values()))
    config = Config.of({name: value for name, value in fixed.items() if name not in definition.space})
    specs = all_specs()
    chosen = {
        name: value
        for name, value in config.active().items()
        if value != specs[name].default or name in definition.base
    }
    rows = [(name, str(value), "fixed") for name, value in chosen.items() if name != definition.per]
    for name, dimension in definition.space.items():
        if isinstance(dimension, Choices):
            where = ", ".join(map(str, dimension.values))
        else:
            where = f"{dimension.low:g} … {dimension.high:g}{', log' if dimension.log else ''}"
        rows.append((name, where, "searched"))
    plan = (
        f"Sampler {definition.sampler.name}, pruner {definition.pruner.name}, {definition.budget.trials} trials for "
        f"each candidate of {definition.budget.horizon:,} iterations, tuning seed {definition.seed}; data "
        f"{definition.data.rstrip('/').rpartition('/')[2]}, fingerprint {str(definition.fingerprint)[:12]}."
    )
    return Section(
        "Configuration", "", (plan,), (), (Table(("field", "value", ""), tuple(rows), frozenset({"value", ""})),)
    )


def _commands(reading: Reading) -> Section:
    """How to do it again."""
    definition = reading.question.definition
    lines = [
        f"# {definition.name}.yaml",
        *study_file(definition).splitlines(),
        "",
        f"tunemax study run {definition.name}.yaml",
    ]
    for each in reading.confirmed:
        stage = [
            "--seeds",
            str(each.seeds),
            "--reference",
            each.reference,
            *(["--longer", str(each.factor)] if each.factor > 1 else []),
        ]
        lines.append(shlex.join(["tunemax", "study", "confirm", definition.name, *stage]))
    for entry in reading.board.entries:
        if entry.best and entry.best.config:
            lines += ["", f"# {entry.name}, trial {entry.best.number}", shell(command(entry.best))]
    return Section("Reproduce", code=tuple(lines))
