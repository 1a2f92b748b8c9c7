"""A verdict to read and to keep: text, Markdown, HTML with its figures, CSV of every run, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunemax.gpt.files import write_whole
from tunemax.gpt.paths import inside
from tunemax.search.charts import svg
from tunemax.search.question.counting import counted
from tunemax.search.rl.charts import pictures
from tunemax.search.rl.verdict import STATIC, Line, Verdict
from tunemax.search.views import rounding
from tunemax.search.views.document import Column, Section, Table, at, tabulated
from tunemax.search.views.tables import compared, p_of
from tunemax.search.views.writers import csv, html, markdown

NAME = Column[Line]("", at("name"), words=True)
LOSSES = (
    Column[Line]("test loss", at("mean"), rounding.loss),
    Column[Line]("IQM, 95 %", at("iqm"), lambda iqm: f"{rounding.loss(iqm.mean)} ({rounding.interval(iqm)})"),
    Column[Line]("ahead", at("ahead_of_static.mean"), "{:.0%}".format),
    Column[Line]("diverged", at("diverged"), lambda share: f"{share.count} of {share.n}"),
    Column[Line]("saved", at("reach.share"), "{:.0%}".format),
    Column[Line]("cost", at("cost"), rounding.count),
)


def tables(verdict: Verdict) -> tuple[Table[Line], Table[Line]]:
    """What each contender has reached and cost, a row each; then how it compares, ablations apart."""
    columns = [NAME]
    for kind, reference in (("static", STATIC), ("schedule", verdict.contest.schedule)):
        columns += _compared(kind, reference)
    main = [line for line in verdict.lines if line.role != "ablation"]
    return Table((NAME, *LOSSES), verdict.lines), Table(columns, main)


def _compared(kind: str, reference: str | None) -> tuple[Column[Line], Column[Line]]:
    versus = f"versus_{kind}"
    head = f"to {kind}, 95 %"
    return compared(head, versus, lambda line: line.name == reference, rounding.difference), p_of(f"{versus}.p_holm")


def explained(verdict: Verdict) -> tuple[str, ...]:
    """What the columns of the table are."""
    contest = verdict.contest
    schedule = f"best schedule ({contest.schedule})" if contest.schedule else "best schedule (none is tuned)"
    seeds = {line.name: len(line.by_seed) for line in verdict.lines if line.role == "agent"}
    told = ", ".join(f"{counted(count, 'seed')} of {name}" for name, count in seeds.items())
    instances = counted(len(contest.instances), "instance")
    return (
        f"{instances} of {contest.set}; {told or 'no agent'}. Test loss in nats a token, a "
        "diverged training counting as the cap; IQM: mean of the middle half, its interval over other seeds and "
        f"instances. Differences to the best static setting ({STATIC}) and the {schedule}, paired by instance, "
        "p by sign flips, corrected for all comparisons (Holm).",
        "Ahead: share of instances with a lower loss than the best static setting. Saved: share of the horizon that "
        "is left when its final validation loss is reached. Cost: member-steps of training the agent, or tuning the "
        "baseline, before its first run.",
    )


def sections(verdict: Verdict) -> list[Section]:
    """The verdict as a report."""
    return [
        Section("Verdict", verdict.sentences[0], verdict.sentences[1:]),
        Section("Comparison", tables=tables(verdict), notes=explained(verdict)),
        Section("Compute, and what the observation is worth", sentences=verdict.remarks),
        Section("Seeds", tables=(_seeds(verdict),)),
        Section("Control trajectories", figures=tuple(pictures(verdict.contest))),
    ]


def write(verdict: Verdict, folder: Path) -> list[Path]:
    """Write the report in all its forms. Returns the files."""
    title = f"{verdict.contest.scene.id} on {verdict.contest.set}"
    parts = sections(verdict)
    content = {
        "verdict.md": markdown.render(title, parts),
        "verdict.html": html.render(title, parts),
        "verdict.json": json.dumps(verdict.to_json(), indent=1, ensure_ascii=False),
        "runs.csv": csv.render(_runs(verdict)),
    }
    named = zip((*verdict.contest.scene.task.controls, "loss"), parts[-1].figures, strict=True)
    content |= {f"{name}.svg": svg.standalone(picture) for name, picture in named}
    paths = {inside(folder, name): text for name, text in content.items()}
    for path, text in paths.items():
        write_whole(path, text.encode())
    return list(paths)


def _seeds(verdict: Verdict) -> Table[Any]:
    agents = [line for line in verdict.lines if line.role == "agent"]
    rows = [(label, f"{loss:.4f}") for line in agents for label, loss in line.by_seed.items()]
    return tabulated(("", "mean test loss"), rows)


def _runs(verdict: Verdict) -> Table[Any]:
    """A row a training."""
    measured = ("instance", "test_loss", "loss", "total", "diverged", "member_steps")
    rows = [
        (contender.name, contender.role, label, *(getattr(outcome, name) for name in measured))
        for contender in verdict.contest.contenders
        for label, outcomes in contender.runs.items()
        for outcome in outcomes
    ]
    heads = ("contender", "role", "run", "instance", "test_loss", "validation_loss", "return", *measured[-2:])
    return tabulated(heads, rows)
