"""A verdict to read and to keep: text, Markdown, HTML with its figures, CSV of every run, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunemax.gpt.files import write_whole
from tunemax.gpt.paths import inside
from tunemax.search.charts import svg
from tunemax.search.question.counting import counted
from tunemax.search.results.statistics import finite
from tunemax.search.rl.charts import pictures
from tunemax.search.rl.contest import ABLATED, FEW
from tunemax.search.rl.verdict import STATIC, Line, Primary, Verdict
from tunemax.search.views import rounding
from tunemax.search.views.document import Column, Section, Table, at, tabulated
from tunemax.search.views.tables import compared, p_of
from tunemax.search.views.writers import csv, html, markdown

PRIMARY = (
    Column[Primary]("", at("name"), words=True),
    Column[Primary]("to", at("reference"), words=True),
    Column[Primary]("test loss", lambda each: each, rounding.difference),
    p_of("p"),
    Column[Primary]("verdict", at("verdict"), words=True),
)
NAME = Column[Line]("", at("name"), words=True)
LOSSES = (
    Column[Line]("test loss, 95 %", at("loss"), lambda loss: f"{loss[0]:.4f} ({loss[1]:.4f} … {loss[2]:.4f})"),
    Column[Line]("runs", lambda line: len(line.by_run)),
    Column[Line]("spread", at("spread"), "{:.2%}".format),
    Column[Line]("diverged", at("diverged"), lambda share: f"{share.count} of {share.n}"),
    Column[Line]("cost", at("cost"), rounding.count),
)
SOON = (
    Column[Line]("ahead", at("ahead_of_static"), lambda ahead: f"{ahead[0]:.0%}"),
    Column[Line]("saved", at("reach.share"), "{:.0%}".format),
)


def tables(verdict: Verdict) -> tuple[Table[Primary], Table[Line], Table[Line]]:
    """The primary contrasts with their verdicts; what each contender has reached and cost, described; how it differs,
    described, ablations apart."""
    columns = [NAME]
    for kind, reference in (("static", STATIC), ("schedule", verdict.contest.schedule)):
        columns.append(_compared(kind, reference))
    main = [line for line in verdict.lines if line.role != "ablation"]
    return Table(PRIMARY, verdict.primaries), Table((NAME, *LOSSES), verdict.lines), Table((*columns, *SOON), main)


def _compared(kind: str, reference: str | None) -> Column[Line]:
    return compared(f"to {kind}, 95 %", f"versus_{kind}", lambda line: line.name == reference, rounding.difference)


def explained(verdict: Verdict) -> tuple[str, ...]:
    """What the columns of the tables are."""
    contest = verdict.contest
    schedule = f"best schedule ({contest.schedule})" if contest.schedule else "best schedule (none is tuned)"
    seeds = {line.name: len(line.by_run) for line in verdict.lines if line.role == "agent"}
    told = ", ".join(f"{counted(count, 'seed')} of {name}" for name, count in seeds.items())
    instances = counted(len(contest.instances), "instance")
    dear = {"population and lookahead": FEW, "ablations": ABLATED}
    first = [f"{what} have the first {most}" for what, most in dear.items() if len(contest.instances) > most]
    few = "".join(f"; {each}" for each in first)
    return (
        f"{instances} of {contest.set}; {told or 'no agent'}. Primary contrasts: each agent with the best static "
        f"setting ({STATIC}) and the {schedule}. Seeds, tunings and instances are all random; p is corrected for all "
        "primary contrasts (Holm), and each interval is at the level of its test. What is equal lies within "
        f"±{100 * verdict.margin:g} % of the loss.",
        "All else is described: intervals of 95 %, each by itself. Test loss in nats a token: the mean of the middle "
        f"half of the instances, of trainings that did not diverge{few}. Spread: the standard deviation of seeds, or "
        "of tunings. Cost: member-steps of training the agent, or tuning the baseline, before its first run. Ahead: "
        "how often it has a lower loss than the best static setting; what diverged is behind. Saved: share of the "
        "horizon that is left when the final validation loss of that is reached, where that did not diverge.",
    )


def sections(verdict: Verdict) -> list[Section]:
    """The verdict as a report."""
    primary, reached, differences = tables(verdict)
    return [
        Section("Verdict", verdict.sentences[0], verdict.sentences[1:], tables=(primary,) if primary.of else ()),
        Section("Described", tables=(reached, differences), notes=explained(verdict)),
        Section("Compute, and what the observation is worth", sentences=verdict.remarks),
        Section("Seeds and tunings", tables=(_runs_by_loss(verdict),)),
        Section("Control trajectories", figures=tuple(pictures(verdict.contest))),
    ]


def write(verdict: Verdict, folder: Path) -> list[Path]:
    """Write the report in all its forms. Returns the files."""
    title = f"{verdict.contest.scene.id} on {verdict.contest.set}"
    parts = sections(verdict)
    content = {
        "verdict.md": markdown.render(title, parts),
        "verdict.html": html.render(title, parts),
        "verdict.json": json.dumps(finite(verdict.to_json()), indent=1, ensure_ascii=False),
        "primary.csv": csv.render(_primary(verdict)),
        "runs.csv": csv.render(_runs(verdict)),
    }
    named = zip((*verdict.contest.scene.task.controls, "loss"), parts[-1].figures, strict=True)
    content |= {f"{name}.svg": svg.standalone(picture) for name, picture in named}
    paths = {inside(folder, name): text for name, text in content.items()}
    for path, text in paths.items():
        write_whole(path, text.encode())
    return list(paths)


def _runs_by_loss(verdict: Verdict) -> Table[Any]:
    several = [line for line in verdict.lines if line.role != "ablation" and len(line.by_run) > 1]
    rows = [(label, f"{loss:.4f}") for line in several for label, loss in line.by_run.items()]
    return tabulated(("", "test loss"), rows)


def _primary(verdict: Verdict) -> Table[Any]:
    """A row a primary contrast, in full precision."""
    plain = [each.to_json() for each in verdict.primaries]
    names = ("name", "reference", "verdict", "diverges_more", "p", "instances", "margin", "detectable", "runs_needed")
    rows = [(*(each[name] for name in names), *each["relative"], each["confidence"], *each["runs"]) for each in plain]
    return tabulated((*names, "difference", "low", "high", "confidence", "seeds", "tunings"), rows)


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
