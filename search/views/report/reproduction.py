"""What was the same in all trials, what was searched, and how to do it all again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.fields import Choices
from tunemax.search.question.counting import counted
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import Dimension
from tunemax.search.question.schema import study_file
from tunemax.search.question.stages import MARGIN
from tunemax.search.results.findings import Findings
from tunemax.search.results.remedies import command
from tunemax.search.storage.commands import training
from tunemax.search.views.document import Section, tabulated


def configuration(definition: StudyDefinition) -> Section:
    """The fields that are not at their defaults, and the dimensions."""
    rows = [*_shared(definition), *_own(definition)]
    for name, dimension in definition.space.items():
        own = {sibling: ranges[name] for sibling, ranges in definition.own.items() if name in ranges}
        rows += [(name, _written(each), f"searched by {sibling}") for sibling, each in own.items()]
        fixing = [candidate for candidate, fields in definition.candidates.items() if name in fields]
        if len(own) + len(fixing) < len(definition.siblings()):
            rows.append((name, _written(dimension), "searched by the others" if own or fixing else "searched"))
    plan = (
        f"Sampler {definition.sampler.name}, pruner {definition.pruner.name}, "
        f"{counted(definition.budget.trials, 'trial')} for each candidate of {definition.budget.words}, tuning seed "
        f"{definition.seed}; data "
        f"{definition.data.rstrip('/').rpartition('/')[2]}, fingerprint {str(definition.fingerprint)[:12]}."
    )
    table = tabulated(("field", "value", ""), rows, words=("value", ""))
    return Section("Configuration", sentences=(plan,), tables=(table,))


def _shared(definition: StudyDefinition) -> Iterator[tuple[str, str, str]]:
    """The fields that no candidate has for its own, where they are not at their defaults."""
    own = {name for fields in definition.compared.values() for name in fields}
    first, *others = (
        Config.of({name: value for name, value in fixed.items() if name not in definition.space_of(fixed)}).active()
        for fixed in definition.siblings().values()
    )
    named = {name: value for active in others for name, value in active.items() if name in definition.base}
    for name, value in {**first, **named}.items():
        if name not in own and (value != all_specs()[name].default or name in definition.base):
            yield name, str(value), "fixed"


def _own(definition: StudyDefinition) -> Iterator[tuple[str, str, str]]:
    """The fields that candidates have for their own, and what those have that do not name them."""
    for candidate, fields in definition.candidates.items():
        yield from ((name, str(value), f"fixed in {candidate}") for name, value in fields.items())
    for name, value in definition.base.items():
        naming = [candidate for candidate, fields in definition.candidates.items() if name in fields]
        if 0 < len(naming) < len(definition.candidates):
            yield name, str(value), "fixed in the others"


def _written(dimension: Dimension) -> str:
    if isinstance(dimension, Choices):
        return ", ".join(map(str, dimension.values))
    return f"{dimension.low:g} … {dimension.high:g}{', log' if dimension.log else ''}"


def commands(findings: Findings) -> Section:
    """How to do it again."""
    definition = findings.question.definition
    lines = [f"# {definition.name}.yaml", *study_file(definition).splitlines(), ""]
    lines.append(f"tunemax study run {definition.name}.yaml")
    for each in findings.confirmations:
        words = ["--reference", each.reference]
        words += ["--margin", f"{each.margin:g}"] if each.margin != MARGIN else []
        # What was planned first decides where looks are made, and how the error is spent
        amounts = dict.fromkeys((min(each.planned, each.seeds), each.seeds)) if each.budget is None else (each.planned,)
        runs = ["--runs", str(each.budget)] if each.budget is not None else []
        for seeds in amounts:
            lines.append(shlex.join(["tunemax", *command(each, "--seeds", str(seeds), *runs), *words]))
    for entry in findings.board.entries:
        if entry.best:
            lines += ["", f"# {entry.name}, trial {entry.best.number}", shlex.join(training(entry.best.config))]
    return Section("Reproduce", code=tuple(lines))
