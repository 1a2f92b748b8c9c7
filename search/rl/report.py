"""A verdict to read and to keep: text, Markdown, HTML with its figures, CSV of every run, JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from tunemax.gpt.files import write_whole
from tunemax.search.charts import svg
from tunemax.search.charts.document import Section, Table
from tunemax.search.results.statistics import Comparison
from tunemax.search.rl.charts import pictures
from tunemax.search.rl.verdict import STATIC, Line, Verdict
from tunemax.search.views.report import html, markdown

NONE = "–"
LOSSES = ("", "test loss", "IQM, 95 %", "ahead", "diverged", "saved", "cost")
DIFFERENCES = ("", "to static, 95 %", "p", "to schedule, 95 %", "p")


def tables(verdict: Verdict) -> tuple[Table, Table]:
    """What each contender has reached and cost, a row each; then how it compares, ablations apart."""
    losses = tuple(_losses(line) for line in verdict.lines)
    differences = tuple(
        _differences(line, verdict.contest.schedule) for line in verdict.lines if line.role != "ablation"
    )
    return Table(LOSSES, losses), Table(DIFFERENCES, differences)


def explained(verdict: Verdict) -> tuple[str, ...]:
    """What the columns of the table are."""
    contest = verdict.contest
    schedule = f"best schedule ({contest.schedule})" if contest.schedule else "best schedule (none is tuned)"
    seeds = {line.name: len(line.by_seed) for line in verdict.lines if line.role == "agent"}
    told = ", ".join(f"{count} seed{'s' * (count > 1)} of {name}" for name, count in seeds.items())
    return (
        f"{len(contest.instances)} instances of {contest.set}; {told or 'no agent'}. Test loss in nats a token, a "
        "diverged training counting as the cap; IQM: mean of the middle half, its interval over other seeds and "
        f"instances. Differences to the best static setting ({STATIC}) and the {schedule}, paired by instance, p by "
        "sign flips, corrected for all comparisons (Holm).",
        "Ahead: share of instances with a lower loss than the best static setting. Saved: share of the horizon that "
        "is left when its final validation loss is reached. Cost: member-steps of training the agent, or tuning the "
        "baseline, before its first run.",
    )


def sections(verdict: Verdict) -> list[Section]:
    """The verdict as a report."""
    return [
        Section("Verdict", verdict.sentences[0], verdict.sentences[1:]),
        Section("Comparison", sentences=explained(verdict), tables=tables(verdict)),
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
        "runs.csv": _csv(verdict),
    }
    named = zip((*verdict.contest.scene.task.controls, "loss"), parts[-1].figures, strict=True)
    content |= {f"{name}.svg": svg.standalone(picture) for name, picture in named}
    for name, text in content.items():
        write_whole(folder / name, text.encode())
    return [folder / name for name in content]


def _losses(line: Line) -> tuple[str, ...]:
    iqm, lost = line.iqm, line.diverged
    return (
        line.name,
        f"{line.mean:.4f}",
        f"{iqm.mean:.4f} ({iqm.low:.4f} … {iqm.high:.4f})",
        f"{line.ahead_of_static.mean:.0%}" if line.ahead_of_static else NONE,
        f"{lost.count} of {lost.n}",
        f"{line.reach.share:.0%}" if line.reach else NONE,
        f"{line.cost:,}",
    )


def _differences(line: Line, schedule: str | None) -> tuple[str, ...]:
    static = _difference(line.versus_static, line.name == STATIC)
    return (line.name, *static, *_difference(line.versus_schedule, line.name == schedule))


def _difference(versus: Comparison | None, reference: bool) -> tuple[str, str]:
    if versus is None:
        return ("reference" if reference else NONE, "")
    mean, low, high = (100 * share for share in versus.relative)
    digits = 1 if max(abs(low), abs(high)) >= 1 else 2
    return (f"{mean:+.{digits}f} % ({low:+.{digits}f} … {high:+.{digits}f})", f"{versus.p_holm:.2g}")


def _seeds(verdict: Verdict) -> Table:
    agents = [line for line in verdict.lines if line.role == "agent"]
    rows = [(label, f"{loss:.4f}") for line in agents for label, loss in line.by_seed.items()]
    return Table(("", "mean test loss"), tuple(rows))


def _csv(verdict: Verdict) -> str:
    """A row a training."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(
        ("contender", "role", "run", "instance", "test_loss", "validation_loss", "return", "diverged", "member_steps")
    )
    for each in verdict.contest.contenders:
        for label, outcomes in each.runs.items():
            for own in outcomes:
                fields: Sequence[object] = (
                    own.instance,
                    own.test_loss,
                    own.loss,
                    own.total,
                    own.diverged,
                    own.member_steps,
                )
                rows.writerow((each.name, each.role, label, *fields))
    return file.getvalue()
