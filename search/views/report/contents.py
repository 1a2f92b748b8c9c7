"""What a report says of a question, section by section, from top to bottom."""

from __future__ import annotations

import math

from tunemax.search.charts import pictures
from tunemax.search.charts.picture import Picture
from tunemax.search.question.counting import counted, one_or
from tunemax.search.results.confirmation import Confirmation, changed
from tunemax.search.results.findings import Findings
from tunemax.search.results.remedies import confirming, remedies
from tunemax.search.views import tables
from tunemax.search.views.claims import claims
from tunemax.search.views.document import Section, tabulated
from tunemax.search.views.report.parameters import importance, learnables, slices
from tunemax.search.views.report.reproduction import commands, configuration
from tunemax.search.views.report.stability import sensitivity, stability


def sections(findings: Findings) -> list[Section]:
    """The whole report. Sections that have nothing to say are left out."""
    parts = [_answer(findings), *(_confirmed(findings, each) for each in findings.confirmations)]
    if findings.board.any_complete:
        parts += [
            _tuned(findings),
            _repeats(findings),
            _curves(findings),
            learnables(findings),
            importance(findings),
            slices(findings),
            sensitivity(findings.question.definition, findings.candidates),
            stability(findings.candidates, findings.confirmations),
            _pruning(findings),
        ]
    parts += [_budget(findings), configuration(findings.question.definition), commands(findings)]
    return [part for part in parts if part.says_something]


def _answer(findings: Findings) -> Section:
    board, confirmations = findings.board, findings.confirmations
    if confirmations:
        (lead, *more), *longer = (each.verdicts for each in confirmations)
        more += [" ".join(each) for each in longer]
    elif board.any_complete:
        lead = board.sentence
        way = confirming(findings.question, board, confirmations)
        more = ["A best trial is partly the luckiest.", *([" ".join(way)] if way else [])]
    else:
        running = sum(entry.running for entry in board.entries)
        still, trained = (one_or(count, "is", "are") for count in (board.left, running))
        come = f"{board.left} {still} still to come"
        lead = f"No trial is complete yet: {come}, {running} of them {trained} being trained."
        more = []
    if again := dict.fromkeys(name for each in confirmations for name in changed(board, each)):
        since = f"Tuning has found a better trial since of {', '.join(again)}"
        more.append(f"{since}; what is confirmed is the one before.")
    if rule := findings.question.definition.rule:
        more.append(rule)
    return Section("Answer", lead, (*more, *findings.cautions))


def _confirmed(findings: Findings, confirmation: Confirmation) -> Section:
    same = " Candidates share their seeds: the same initial values where the models agree, the same order of the data."
    explained = (
        f"The winner{'' if confirmation.alone else ' of each candidate'}, frozen, was trained anew on "
        f"{confirmation.told_seeds} for {confirmation.work}, and evaluated on validation text that "
        f"no tuning has seen.{'' if confirmation.alone else same} {tables.explained(confirmation)}."
    )
    rows = (
        pictures.intervals(findings.board.question, confirmation, findings.candidates),
        pictures.differences(confirmation, findings.candidates),
    )
    curves = pictures.confirmed_curves(confirmation, findings.candidates)
    figures: list[Picture] = [*(picture for picture in rows if picture.rows), *([curves] if curves.curves else [])]
    said = claims(confirmation)
    return Section(
        f"Confirmed at {confirmation.work}",
        sentences=(said.head,) if said.head != confirmation.verdict else (),  # the verdict stands in the answer
        items=said.settled,
        tables=(tables.confirmed_with_effects(confirmation),),
        after=(*said.open, *remedies(confirmation)),
        notes=(explained,),
        figures=tuple(figures),
    )


def _tuned(findings: Findings) -> Section:
    ranking = pictures.ranking(findings.board, findings.candidates)
    measured = "Validation loss at the horizon, on tuning text and tuning seed"
    explained = f"{measured}: of the best trial, and the median of the best five."
    return Section(
        "Tuned",
        sentences=(findings.order,) if findings.order and findings.confirmations else (),  # else it is in the answer
        tables=(tables.winners(findings.board),),
        notes=(explained,),
        figures=(ranking,) if ranking.rows else (),
    )


def _curves(findings: Findings) -> Section:
    across = findings.question.definition.budget.counts
    curves = pictures.learning_curves(findings.board.question, findings.candidates, across)
    return Section("Learning curves", figures=(curves,) if curves.shown else ())


def _repeats(findings: Findings) -> Section:
    """What repeats of the whole tuning have found."""
    again = findings.repeats
    if again is None:
        return Section("Repeats")
    explained = "The best tuned loss in each repeat of the tuning: the same search with another seed."
    return Section("Repeats", sentences=again.sentences, tables=(tables.repeats(again),), notes=(explained,))


def _pruning(findings: Findings) -> Section:
    """How well the loss where trials were stopped foretells that at the horizon."""
    columns = (
        "candidate",
        findings.question.definition.budget.counts,
        "stopped",
        "trials",
        "spared",
        "rank correlation",
        "95 % interval",
    )
    rows = []
    for rung in findings.pruning.rungs:
        found = rung.correlation
        value = f"{found.value:.2f}" if math.isfinite(found.value) else "–"
        interval = f"{found.low:.2f} … {found.high:.2f}" if math.isfinite(found.low) else "–"
        rows.append((rung.candidate, f"{rung.step:,}", rung.stopped, found.n, rung.spared, value, interval))
    explained = (
        "Spearman's correlation between the loss where trials may be stopped, and the loss at the "
        "horizon, over the trials that have both. Spared: trials that the pruner would have stopped and that were "
        f"let through on purpose, a share of {100 * findings.question.definition.pruner.spared:g} %; each stands for "
        "all of them. Without any, the correlation is that of the trials that went on, and too low. Interval by the "
        "bootstrap over trials; all: ranks within each candidate."
    )
    if not rows:
        return Section("Pruning")
    table = tabulated(columns, rows)
    return Section("Pruning", sentences=findings.pruning.warnings, tables=(table,), notes=(explained,))


def _budget(findings: Findings) -> Section:
    spent = [f"Tuning took {counted(findings.board.member_steps, 'member-step')}"]
    spent += [f"confirming {each.member_steps:,} at {each.work}" for each in findings.confirmations]
    return Section("Budget", sentences=(f"{', '.join(spent)}.",), tables=(tables.budget(findings.board),))
